// The classes: their keys, colours and counts; new names; progress.
import { addClass, canUndo, colourOf, data, find, keyed, label, make, nameClass, on, state } from "./store.js";

const counts = (rows) => {
  const found = new Map();
  for (const row of rows) if (state.labels[row]) found.set(state.labels[row], (found.get(state.labels[row]) ?? 0) + 1);
  return found;
};

// A class's line stays while its name does: a button that went and came again would lose a click begun on it, and the focus.
const lines = new Map();

function line(name, key, count) {
  const { item, button, dot, sign, number } = lines.get(name) ?? makeLine(name);
  dot.style.background = colourOf(name);
  sign.textContent = key;
  sign.hidden = !key;
  number.textContent = String(count);
  button.setAttribute("aria-label", `${name}: label the selected; ${count} so far${key ? `; key ${key}` : ""}`);
  return item;
}

function makeLine(name) {
  const item = document.createElement("li"), button = make(item, "button", null, { type: "button", class: "class" });
  const dot = make(button, "span", null, { class: "dot" });
  make(button, "span", name, { class: "name" });
  const sign = make(button, "kbd"), number = make(button, "span", null, { class: "count" });
  button.addEventListener("click", () => give(name));
  const rename = make(item, "button", "✎", { type: "button", class: "rename", "aria-label": `rename ${name}`, title: "rename" });
  rename.addEventListener("click", () => edit(item, name));
  const made = { item, button, dot, sign, number };
  lines.set(name, made);
  return made;
}

function draw() {
  const list = find("#classes"), number = counts(data.ids.keys());
  if (list.querySelector("form")) return;  // somebody types
  const names = [...keyed(), data.junk], keyOf = (name, place) => (name === data.junk ? "0" : place < 9 ? String(place + 1) : "");
  for (const name of lines.keys()) if (!names.includes(name)) lines.delete(name);
  const items = names.map((name, place) => line(name, keyOf(name, place), number.get(name) ?? 0));
  items.forEach((item, place) => { if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null); });
  while (list.children.length > items.length) list.lastChild.remove();
  const done = [...number.values()].reduce((sum, each) => sum + each, 0);
  find("#progress").textContent = `${done} of ${data.ids.length} labelled · kept in ${data.file}`;
  find("#undo").disabled = !canUndo();
  drawTomograms();
}

function drawTomograms() {
  const { names, codes } = data.tomogram, list = find("#tomograms");
  find("#by-tomogram").hidden = names.length < 2;
  if (names.length < 2) return;
  const all = names.map(() => 0), done = names.map(() => 0);
  codes.forEach((code, row) => { if (code >= 0) { all[code] += 1; if (state.labels[row]) done[code] += 1; } });
  list.replaceChildren();
  names.forEach((name, number) => {
    const item = make(list, "li");
    make(item, "span", name, { class: "name" });
    make(item, "meter", null, { min: 0, max: all[number], value: done[number], "aria-label": `labelled in ${name}` });
    make(item, "span", `${done[number]} of ${all[number]}`, { class: "count" });
  });
}

// Replace a class's line by a field for its new name; all of its labels get that. An empty one takes out what nothing has.
function edit(item, name) {
  item.replaceChildren();
  const form = make(item, "form"), field = make(form, "input", null, { maxlength: 60, "aria-label": `new name of ${name}` });
  field.value = name;
  field.focus();
  field.select();
  const end = (save) => {
    const now = field.value.trim();
    const rows = [...data.ids.keys()].filter((row) => state.labels[row] === name);
    if (save && now !== name && (now || (!rows.length && name !== data.junk))) {
      nameClass(now, name);
      if (rows.length) label(rows, now, "rename");
    }
    lines.delete(name);
    form.remove();
    draw();
    find("#grid").focus();
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); end(true); });
  field.addEventListener("keydown", (event) => { if (event.key === "Escape") end(false); });
}

let give = () => {};

export function start(giveClass) {
  give = giveClass;
  find("#new").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = find("#new-name"), name = field.value.trim();
    if (!name) return;
    field.value = "";
    find("#grid").focus();
    if (state.selected.size) give(name);
    else addClass(name);
  });
  on("labels theme", draw);
}
