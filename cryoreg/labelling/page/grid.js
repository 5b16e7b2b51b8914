// The grid: only what is in view is in the document, so that many thousand particles scroll as a few do.
import { colourOf, data, find, make, on, select, state, suggestion, tell } from "./store.js";

const GAP = 6, CAPTION = 20;
const grid = find("#grid"), spacer = find("#spacer");
let cells = [], columns = 1, pitch = 1, size = 96, wanted = 0, anchor = 0, stale = true;

function measure() {
  size = Number(find("#size").value);
  columns = Math.max(1, Math.floor((grid.clientWidth - GAP) / (size + GAP)));
  size = Math.floor((grid.clientWidth - GAP) / columns) - GAP;  // whole rows
  pitch = size + CAPTION + GAP;
  spacer.style.height = `${Math.ceil(state.order.length / columns) * pitch + GAP}px`;
}

export function redraw() {
  stale = true;
  scrolled();
}

// Of what has only moved, what comes into view is filled anew, and nothing else.
function scrolled() {
  cancelAnimationFrame(wanted);
  wanted = requestAnimationFrame(draw);
}

function draw() {
  const first = Math.max(0, Math.floor(grid.scrollTop / pitch) - 1) * columns;
  const rows = Math.ceil(grid.clientHeight / pitch) + 3, last = Math.min(first + rows * columns, state.order.length);
  while (cells.length < rows * columns) cells.push(newCell());
  for (const cell of cells) cell.used = false;
  for (let place = first; place < last; place++) {
    const cell = cells[place % cells.length];
    if (stale || cell.row !== state.order[place]) fill(cell, place);
    cell.used = true;
  }
  stale = false;
  for (const cell of cells) {
    cell.element.hidden = !cell.used;
    if (!cell.used) { cell.row = -1; cell.element.removeAttribute("id"); }
  }
  const focused = document.getElementById(`row-${state.focus}`);
  if (focused && !focused.hidden) grid.setAttribute("aria-activedescendant", focused.id);
  else grid.removeAttribute("aria-activedescendant");
}

function newCell() {
  const element = make(spacer, "div", null, { role: "option", class: "cell" });
  return { element, picture: make(element, "div", null, { class: "picture" }), caption: make(element, "div", null, { class: "caption" }), used: false };
}

export function sprite(element, row, edge, look) {
  const { tiles, columns: across } = data.sheet, place = row % tiles;
  element.style.backgroundImage = `url("sheets/${look}/${Math.floor(row / tiles)}")`;
  element.style.backgroundSize = `${across * edge}px auto`;
  element.style.backgroundPosition = `${-(place % across) * edge}px ${-Math.floor(place / across) * edge}px`;
}

function fill(cell, place) {
  const row = state.order[place], { element, picture, caption } = cell;
  const name = state.labels[row], perhaps = suggestion(row), is = state.selected.has(row);
  cell.row = row;
  element.id = `row-${row}`;
  element.dataset.row = row;
  element.style.transform = `translate(${GAP + (place % columns) * (size + GAP)}px, ${GAP + Math.floor(place / columns) * pitch}px)`;
  element.style.width = `${size}px`;
  picture.style.height = `${size}px`;
  sprite(picture, row, size, find("#look").value);
  caption.textContent = name || (perhaps ? `${perhaps.confidence} % ${perhaps.name}?` : "");
  caption.className = name ? "caption labelled" : "caption";
  element.style.setProperty("--mark", name || perhaps ? colourOf(name || perhaps.name) : "transparent");
  element.classList.toggle("sure", !!name);
  element.classList.toggle("at", row === state.focus);
  element.setAttribute("aria-selected", is);
  element.setAttribute("aria-setsize", state.order.length);
  element.setAttribute("aria-posinset", place + 1);
  const said = name ? `class ${name}` : perhaps ? `no class, perhaps ${perhaps.name}, ${perhaps.confidence} percent` : "no class";
  element.setAttribute("aria-label", `${data.ids[row]}, ${said}`);
}

export function bringIntoView(row = state.focus) {
  const line = Math.floor(state.order.indexOf(row) / columns) * pitch;
  if (line < 0) return;
  if (line < grid.scrollTop) grid.scrollTop = line;
  else if (line + pitch + GAP > grid.scrollTop + grid.clientHeight) grid.scrollTop = line + pitch + GAP - grid.clientHeight;
}

// Go to the particle that is so many places on; with ``extend``, select all from where that began.
export function move(step, extend) {
  const place = state.order.indexOf(state.focus), next = Math.min(state.order.length - 1, Math.max(0, place + step));
  goTo(next, extend);
}

function goTo(place, extend) {
  if (!(place in state.order)) return;
  if (extend) {
    const from = Math.max(0, state.order.indexOf(anchor)), [low, high] = [Math.min(from, place), Math.max(from, place)];
    select(state.order.slice(low, high + 1), state.order[place]);
  } else {
    anchor = state.order[place];
    select([], anchor);
  }
  bringIntoView();
  tell("focus");
}

export function toggle(row) {
  const rows = new Set(state.selected);
  if (!rows.delete(row)) rows.add(row);
  anchor = row;
  select(rows, row);
  tell("focus");
}

function clicked(event) {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  const row = Number(cell.dataset.row);
  if (event.shiftKey) goTo(state.order.indexOf(row), true);
  else if (event.ctrlKey || event.metaKey) toggle(row);
  else goTo(state.order.indexOf(row), false);
}

export function keyDown(event) {
  const page = Math.max(1, Math.floor(grid.clientHeight / pitch)) * columns, end = state.order.length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page, Home: -end, End: end };
  if (event.key in steps && !event.ctrlKey && !event.altKey) move(steps[event.key], event.shiftKey);
  else if (event.key === " ") toggle(state.focus);
  else return false;
  return true;
}

export function start() {
  for (const look of data.looks) make(find("#look"), "option", look, { value: look });
  find("#look").addEventListener("change", redraw);
  const again = () => { measure(); bringIntoView(); redraw(); };
  find("#size").addEventListener("input", again);
  new ResizeObserver(again).observe(grid);
  grid.addEventListener("scroll", scrolled, { passive: true });
  grid.addEventListener("click", clicked);
  on("labels taught selection focus theme", redraw);
  on("order", () => {
    measure();
    grid.scrollTop = 0;
    find("#shown").textContent = `${state.order.length} of ${data.ids.length} shown`;
    redraw();
  });
  on("selection order", () => { find("#chosen").textContent = state.selected.size ? `${state.selected.size} selected` : ""; });
}
