// Begins: loads the data, wires the parts, keys and light or dark; asks now and then what is new.
import * as classes from "./classes.js";
import * as course from "./course.js";
import * as detail from "./detail.js";
import * as grid from "./grid.js";
import * as map from "./map.js";
import * as order from "./order.js";
import * as tomogram from "./tomogram.js";
import { canUndo, chosen, data, find, keyed, label, labelEach, load, notice, on, poll, select, similarTo, state, suggestion, tell, undo } from "./store.js";

const EVERY = 1500;

function give(name) {
  const rows = chosen(), one = !state.selected.size;
  label(rows, name, rows.length > 1 ? "several at once" : "one by one").then(soon);
  if (one) grid.move(1, false);
  else select([]);
}

function accept() {
  const pairs = chosen().map((row) => [row, suggestion(row)?.name]).filter(([, name]) => name), one = !state.selected.size;
  if (!pairs.length) return;
  labelEach(pairs, "suggestion").then(soon);
  if (one) grid.move(1, false);
  else select([]);
}

async function similar() {
  if (!chosen().length) return;
  state.similar = await similarTo(chosen());
  if (state.similar.length) order.show(find("#show").value, "similar");
}

function next() {
  const open = state.taught?.next.filter((row) => !state.labels[row]) ?? [];
  if (!open.length) return;
  state.focus = open[0];
  order.show("all", "next");
  select([], state.focus);
  tell("focus");
  find("#grid").focus();
}

// Save the labels as a list where the browser saves files; where they cannot be one, or name files that are not found from there, say so.
async function save(event) {
  event.preventDefault();
  const answer = await fetch(event.target.href);
  if (!answer.ok) return notice((await answer.json()).error);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `labels.${event.target.href.split("/").at(-1)}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  notice(JSON.parse(answer.headers.get("x-cryoreg-notes") ?? "[]").join("\n"));
}

function soon() {
  for (const wait of [200, 700]) setTimeout(poll, wait);  // what the new label has taught
}

function back() {
  undo().then(soon);
}

const KEYS = {
  j: () => give(data.junk), 0: () => give(data.junk), u: back, n: next, s: similar, r: order.arrange, Enter: accept,
  c: () => find("#new-name").focus(), "?": () => find("#keys").showModal(), Backspace: () => give(""), Delete: () => give(""),
  Escape: () => select([]),
};

function keyDown(event) {
  if (find("#keys").open) return;
  const field = event.target.closest("input, select, a, button");
  if (event.key === "Escape" && field) find("#grid").focus();
  const types = field && !(field.matches("button, a, [type=range]") && !["Enter", " "].includes(event.key));
  if (types || event.altKey || event.defaultPrevented) return;
  const inGrid = event.target.closest("#grid");
  if ((event.ctrlKey || event.metaKey) && event.key === "a") select(state.order);
  else if (event.ctrlKey || event.metaKey) return;
  else if (inGrid && grid.keyDown(event)) { /* it has moved */ }
  else if (/^[1-9]$/.test(event.key)) { if (keyed()[event.key - 1]) give(keyed()[event.key - 1]); }
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function themes() {
  const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  const wear = (name) => { root.dataset.theme = name; tell("theme"); };
  let wished = null;
  try { wished = localStorage.getItem("cryoreg-theme"); } catch { /* a browser may keep nothing */ }
  wear(wished ?? (dark.matches ? "dark" : "light"));
  find("#theme").addEventListener("click", () => {
    const other = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("cryoreg-theme", other); } catch { /* likewise */ }
    wear(other);
  });
}

function buttons() {
  const click = (id, act) => find(id).addEventListener("click", act);
  for (const link of document.querySelectorAll(".save a")) link.addEventListener("click", save);
  click("#undo", back);
  click("#help", KEYS["?"]);
  click("#again", order.arrange);
  click("#all", () => { select(state.order); find("#grid").focus(); });
  click("#none", () => { select([]); find("#grid").focus(); });
  click("#next", next);
  click("#accept", accept);
  find("#arrange").addEventListener("change", () => { if (find("#arrange").value === "similar") similar(); });
  on("taught labels", () => {
    find("#next").disabled = !state.taught?.next.length;
    find("#accept").disabled = !state.taught?.known;
    find("#undo").disabled = !canUndo();
  });
}

async function start() {
  await load();
  document.title = `${data.title} · cryoreg label`;
  find("#title").textContent = data.title;
  for (const part of [order, grid, detail, course, map, tomogram]) part.start();
  classes.start(give);
  buttons();
  themes();
  order.arrange();
  for (const event of ["labels", "taught", "progress", "selection", "focus"]) tell(event);
  document.addEventListener("keydown", keyDown);
  setInterval(poll, EVERY);
  find("#grid").focus();
  document.documentElement.dataset.ready = "true";
}

start();
