// Which particles the grid shows, and in which order. Labels do not move particles before somebody arranges again.
import { data, find, keyed, make, on, state, suggestion, tell } from "./store.js";

const ARRANGE = {
  listed: "as listed", said: "by class or cluster in the data", groups: "by what looks alike", classes: "by class", doubt: "doubtful first",
  next: "whom to label next", similar: "similar to the selected",
};

const byKey = (rows, key) => rows.map((row) => [key(row), row]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, row]) => row);

function arranged(rows) {
  const { taught } = state, how = find("#arrange").value, known = taught?.known;
  if (how === "said") return byKey(rows, (row) => (data.said.codes[row] < 0 ? Infinity : data.said.codes[row]));
  if (how === "groups" && taught?.groups) return byKey(rows, (row) => taught.groups[row]);
  if (how === "classes") {
    const place = new Map([...keyed(), data.junk].map((name, number) => [name, number]));
    const rank = (row) => place.get(state.labels[row] || suggestion(row)?.name) ?? place.size;
    return byKey(rows, (row) => 2 * rank(row) + (state.labels[row] ? 0 : 1));
  }
  if (how === "doubt" && known) return byKey(rows, (row) => (state.labels[row] ? 1000 : 0) - known.doubts[row]);
  if (how === "next" && taught) return first(taught.next.filter((row) => !state.labels[row]), known ? byKey(rows, (row) => (state.labels[row] ? 1000 : 0) - known.doubts[row]) : rows);
  if (how === "similar") return first(state.similar, rows);
  return rows;
}

function first(front, rows) {
  const there = new Set(rows), ahead = front.filter((row) => there.has(row)), taken = new Set(ahead);
  return [...ahead, ...rows.filter((row) => !taken.has(row))];
}

function shows() {
  const [kind, ...rest] = find("#show").value.split(":"), name = rest.join(":");
  const tests = {
    all: () => true, open: (row) => !state.labels[row], labelled: (row) => !!state.labels[row],
    lasso: (row) => state.lasso.has(row), class: (row) => state.labels[row] === name,
    suggested: (row) => suggestion(row)?.name === name,
    group: (row) => state.taught?.groups?.[row] === Number(name), said: (row) => data.said.codes[row] === Number(name),
  };
  const tomogram = find("#tomogram-filter").value;
  const there = tomogram === "" ? () => true : (row) => data.tomogram.codes[row] === Number(tomogram);
  return (row) => tests[kind](row) && there(row);
}

export function arrange() {
  const shown = shows();
  state.order = arranged(data.ids.map((_, row) => row).filter(shown));
  if (!state.order.includes(state.focus) && state.order.length) state.focus = state.order[0];
  find("#again").hidden = true;
  tell("order");
}

export function show(value, how) {
  fillShow();
  find("#show").value = value;
  if (how) find("#arrange").value = how;
  arrange();
}

function choices() {
  const groups = state.taught?.groups, numbers = groups ? [...new Set(groups)].sort((a, b) => a - b) : [];
  const plain = [["all", "all"], ["open", "not labelled"], ["labelled", "labelled"]];
  return [
    ["", state.lasso.size ? [...plain, ["lasso", "drawn around in the map"]] : plain],
    ["class", state.classes.map((name) => [`class:${name}`, name])],
    ["suggested", (state.taught?.known?.classes ?? []).map((name) => [`suggested:${name}`, `perhaps ${name}`])],
    ["look alike", numbers.map((number) => [`group:${number}`, `group ${number + 1}`])],
    ["class or cluster in the data", (data.said?.names ?? []).map((name, number) => [`said:${number}`, name])],
  ];
}

let filled = "";

// The menu is left alone while its choices are the same: somebody may have it open.
function fillShow() {
  const menu = find("#show"), before = menu.value, found = choices();
  if (JSON.stringify(found) === filled) return;
  filled = JSON.stringify(found);
  menu.replaceChildren();
  for (const [name, options] of found) {
    const parent = name && options.length ? make(menu, "optgroup", null, { label: name }) : menu;
    for (const [value, text] of options) make(parent, "option", text, { value });
  }
  menu.value = before;
  if (!menu.value) menu.value = "all";
}

export function start() {
  for (const [value, text] of Object.entries(ARRANGE)) if (value !== "said" || data.said) make(find("#arrange"), "option", text, { value });
  if (data.grouped) find("#arrange").value = "said";
  const tomograms = find("#tomogram-filter");
  make(tomograms, "option", "all", { value: "" });
  data.tomogram.names.forEach((name, number) => make(tomograms, "option", name, { value: number }));
  find("#of-tomogram").hidden = data.tomogram.names.length < 2;
  fillShow();
  for (const id of ["#arrange", "#show", "#tomogram-filter"]) find(id).addEventListener("change", arrange);
  on("labels taught", () => { fillShow(); find("#again").hidden = find("#show").value === "all" && find("#arrange").value === "listed"; });
}
