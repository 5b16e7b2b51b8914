// What the page knows, and its talk with the server. A label is shown once the server has it on disk.
export const data = {};
export const state = {
  labels: [], classes: [], taught: null, done: 0,
  order: [], selected: new Set(), focus: 0, lasso: new Set(), similar: [],
  version: 0, step: -1,
};
const listeners = {}, past = [];
let chain = Promise.resolve(), troubled = false, polling = false;

export const find = (selector) => document.querySelector(selector);
export const on = (names, listen) => { for (const name of names.split(" ")) (listeners[name] ??= []).push(listen); };
export const tell = (name) => { for (const listen of listeners[name] ?? []) listen(); };

export function make(parent, kind, text, attributes = {}) {
  const made = document.createElement(kind);
  if (text != null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({ error: "the address is not right any more; open the one that is printed now" }));
  if (!answer.ok) throw new Error(body.error ?? answer.statusText);
  return body;
}

const post = (path, said) => ask(path, {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(said),
});

export function notice(text) {
  find("#alarm").hidden = !text;
  find("#alarm").textContent = text;
}

// All requests that labels depend on, one after the other: an old answer never hides a newer label.
function inTurn(work) {
  const result = chain.then(work);
  chain = result.then(() => { if (troubled) notice(""); troubled = false; }, (error) => {
    troubled = true;
    notice(`not saved: ${error instanceof TypeError ? "cryoreg label does not answer; start it again, labels are kept" : error.message}`);
  });
  return chain;
}

export async function load() {
  Object.assign(data, await ask("data"));
  state.labels = data.ids.map(() => "");
  past.push(...data.past);
  await poll();
}

export function poll() {
  if (polling) return chain;
  polling = true;
  return inTurn(async () => {
    polling = false;
    const answer = await ask(`changes?since=${state.version}&step=${state.step}`);
    state.version = answer.version;
    for (const [row, name] of Object.entries(answer.changed)) state.labels[row] = name;
    if (takeClasses(answer) || Object.keys(answer.changed).length) tell("labels");
    state.done = answer.done ?? 0;
    state.problem = answer.problem;
    if (answer.taught) {
      state.taught = answer.taught;
      state.step = answer.step;
      tell("taught");
    }
    tell("progress");
  });
}

export const similarTo = (rows) => ask(`similar/${rows.slice(0, 1000)}`);

// Changes are [row, class, class before]; those that others were faster to make are refused.
async function deliver(changes, source) {
  if (!changes.length) return;
  const { refused } = await post("labels", { changes, source });
  const kept = changes.filter(([row]) => !(row in refused)), lost = changes.length - kept.length;
  for (const [row, name] of [...kept, ...Object.entries(refused)]) state.labels[row] = name;
  if (source !== "undo" && kept.length) past.push(kept);
  notice(lost ? `${lost} had been labelled by somebody else meanwhile, and are left as they are` : "");
  tell("labels");
}

const send = (pairs, source) => inTurn(() => {
  const other = pairs.filter(([row, name]) => state.labels[row] !== name);
  return deliver(other.map(([row, name]) => [row, name, state.labels[row]]), source);
});

export function label(rows, name, source) {
  if (name && !state.classes.includes(name)) addClass(name);
  return send(rows.map((row) => [row, name]), source);
}

// Each with a class of its own: [row, class] pairs.
export const labelEach = send;

// What is taken back may have named a class, which the server knows.
export const undo = () => {
  inTurn(() => deliver((past.pop() ?? []).map(([row, name, was]) => [row, was, name]), "undo"));
  return poll();
};

export const canUndo = () => past.length > 0;

// A name is there once the server has it on disk, whether anything has it or not; it may take another one's place.
export const nameClass = (name, insteadOf = "") => inTurn(async () => {
  if (takeClasses(await post("classes", { name, instead_of: insteadOf }))) tell("labels");
});

export const addClass = (name) => (name && !state.classes.includes(name) ? nameClass(name) : chain);

// Names that the server knows; those that are here keep their place and their key, as do names that take theirs.
function takeClasses({ classes, gone }) {
  const here = state.classes.map((name) => (Object.hasOwn(gone, name) ? gone[name] : name)).filter((name) => name);
  const before = state.classes.join("\n");
  state.classes = [...new Set([...here, ...classes])];
  return state.classes.join("\n") !== before;
}

// Classes that have a key: all but junk, in order.
export const keyed = () => state.classes.filter((name) => name !== data.junk);
export const colourOf = (name) => name === data.junk ? style("--junk") : name ? style(`--c${keyed().indexOf(name) % 10}`) : style("--unknown");

// Colours are asked once for each theme: to ask between changes of the page has it worked out anew each time.
const styles = new Map();
on("theme", () => styles.clear());
export function style(name) {
  if (!styles.has(name)) styles.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return styles.get(name);
}

export function suggestion(row) {
  const known = state.taught?.known;
  return known && !state.labels[row] ? { name: known.classes[known.predictions[row]], confidence: known.confidences[row] } : null;
}

export function select(rows, focus) {
  state.selected = new Set(rows);
  if (focus !== undefined) state.focus = focus;
  tell("selection");
}

export const chosen = () => (state.selected.size ? [...state.selected] : state.order.includes(state.focus) ? [state.focus] : []);
