// The classes: their keys, colours and counts; new names; progress.
import { addClass, canUndo, colourOf, data, find, keyed, label, make, nameClass, on, state } from "./store.js";

const counts = (rows) => {
  const found = new Map();
  for (const row of rows) if (state.labels[row]) found.set(state.labels[row], (found.get(state.labels[row]) ?? 0) + 1);
  return found;
};

function draw() {
  const list = find("#classes"), number = counts(data.ids.keys());
  if (list.querySelector("form")) return;  // somebody types
  const at = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren();
  const line = (name, key) => {
    const item = make(list, "li"), button = make(item, "button", null, { type: "button", class: "class" });
    make(button, "span", null, { class: "dot" }).style.background = colourOf(name);
    make(button, "span", name, { class: "name" });
    if (key) make(button, "kbd", key);
    make(button, "span", String(number.get(name) ?? 0), { class: "count" });
    button.setAttribute("aria-label", `${name}: label the selected; ${number.get(name) ?? 0} so far${key ? `; key ${key}` : ""}`);
    button.addEventListener("click", () => give(name));
    const rename = make(item, "button", "✎", { type: "button", class: "rename", "aria-label": `rename ${name}`, title: "rename" });
    rename.addEventListener("click", () => edit(item, name));
  };
  keyed().forEach((name, place) => line(name, place < 9 ? String(place + 1) : ""));
  line(data.junk, "0");
  list.querySelectorAll("button")[at]?.focus();
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
