// The map of features: what is drawn around is shown and selected in the grid, what the grid shows stands out here.
import { colourOf, data, find, make, on, select, state, style, suggestion, tell } from "./store.js";
import { show } from "./order.js";
import { bringIntoView } from "./grid.js";

const MARGIN = 12, CLICK = 4;
const canvas = find("#points"), context = canvas.getContext("2d");
const COLOURS = { class: "class", groups: "looks alike", tomogram: "tomogram", said: "class or cluster in the data", doubt: "doubt" };
let places = null, path = [], wanted = 0, seen = false;

const extent = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

function project() {
  const found = state.taught?.layouts?.[find("#layout").value];
  if (!found) return null;
  const [xs, ys] = found, [[left, right], [bottom, top]] = found.map(extent);
  const wide = canvas.clientWidth - 2 * MARGIN, high = canvas.clientHeight - 2 * MARGIN;
  return xs.map((x, row) => [MARGIN + wide * (x - left) / (right - left || 1), MARGIN + high * (top - ys[row]) / (top - bottom || 1)]);
}

function colours() {
  const how = find("#colour").value, code = (number) => (number < 0 ? style("--unknown") : tints[number % 10]);
  const tints = [...Array(10).keys()].map((number) => style(`--c${number}`)), named = new Map(["", ...state.classes].map((name) => [name, colourOf(name)]));
  if (how === "groups") return (row) => code(state.taught.groups?.[row] ?? -1);
  if (how === "tomogram") return (row) => code(data.tomogram.codes[row]);
  if (how === "said") return (row) => code(data.said?.codes[row] ?? -1);
  const doubts = state.taught.known?.doubts;
  if (how === "doubt") return (row) => doubts ? `hsl(${220 - 2 * doubts[row]} 75% 50%)` : style("--unknown");
  return (row) => named.get(state.labels[row] || suggestion(row)?.name || "");
}

// All points that look the same are one path: ten thousand are drawn as quickly as a few.
function drawPoints() {
  const colour = colours(), shown = new Set(state.order), many = places.length > 3000, paths = new Map();
  const ink = style("--ink");
  places.forEach(([x, y], row) => {
    const sure = !!state.labels[row], chosen = state.selected.has(row), there = shown.has(row);
    const alpha = there ? (sure || chosen ? 1 : 0.6) : 0.1, radius = (many ? 1.5 : 2.5) + sure + chosen;
    const key = `${chosen ? ink : colour(row)} ${alpha}`;
    if (!paths.has(key)) paths.set(key, new Path2D());
    if (many) paths.get(key).rect(x - radius, y - radius, 2 * radius, 2 * radius);
    else { paths.get(key).moveTo(x + radius, y); paths.get(key).arc(x, y, radius, 0, 7); }
  });
  for (const [key, points] of paths) {
    const cut = key.lastIndexOf(" ");
    context.fillStyle = key.slice(0, cut);
    context.globalAlpha = Number(key.slice(cut));
    context.fill(points);
  }
}

function draw() {
  const ratio = devicePixelRatio;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.scale(ratio, ratio);
  places = project();
  if (!places) { context.fillStyle = style("--soft"); context.fillText("it comes once all particles have been looked at", MARGIN, 24); return; }
  drawPoints();
  context.globalAlpha = 1;
  context.strokeStyle = style("--ink");
  context.lineWidth = 2;
  context.beginPath();
  context.arc(...places[state.focus], 7, 0, 7);
  context.stroke();
  context.lineWidth = 1;
  if (path.length > 1) {
    context.beginPath();
    path.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  }
}

const redraw = () => { if (seen) { cancelAnimationFrame(wanted); wanted = requestAnimationFrame(draw); } };

// Whether a point lies within a closed path: a ray to the right crosses it an odd number of times.
function within([x, y], corners) {
  let inside = false;
  corners.forEach(([ax, ay], number) => {
    const [bx, by] = corners.at(number - 1);
    if ((ay > y) !== (by > y) && x < ax + (bx - ax) * (y - ay) / (by - ay)) inside = !inside;
  });
  return inside;
}

function released() {
  if (!places || !path.length) { path = []; return; }
  const far = extent(path.map(([x, y]) => Math.hypot(x - path[0][0], y - path[0][1])))[1];
  if (far < CLICK) nearest(path[0]);
  else {
    const rows = places.map((_, row) => row).filter((row) => within(places[row], path));
    state.lasso = new Set(rows);
    if (rows.length) { show("lasso"); select(rows, state.order[0]); }
  }
  path = [];
  redraw();
}

function nearest([x, y]) {
  const far = places.map(([px, py]) => Math.hypot(px - x, py - y)), row = far.indexOf(extent(far)[0]);
  if (!state.order.includes(row)) show("all");
  select([], row);
  bringIntoView();
  tell("focus");
}

function fill() {
  const menu = find("#layout"), before = menu.value, names = Object.keys(state.taught?.layouts ?? {});
  if (names.length === menu.options.length) return;
  menu.replaceChildren();
  for (const name of names) make(menu, "option", name, { value: name });
  if (names.includes(before) && names.length !== 2) menu.value = before;
}

export function start() {
  const there = { said: !!data.said, tomogram: data.tomogram.names.length > 1 };
  for (const [value, text] of Object.entries(COLOURS)) if (there[value] ?? true) make(find("#colour"), "option", text, { value });
  for (const id of ["#layout", "#colour"]) find(id).addEventListener("change", redraw);
  const at = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => { path = [at(event)]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => { if (path.length) { path.push(at(event)); redraw(); } });
  canvas.addEventListener("pointerup", released);
  new ResizeObserver(redraw).observe(canvas);
  new IntersectionObserver(([entry]) => { seen = entry.isIntersecting; redraw(); }).observe(canvas);
  on("taught", fill);
  on("labels taught selection focus order theme", redraw);
}
