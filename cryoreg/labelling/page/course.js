// What labels have taught: accuracy against their number, and how far the work is.
import { data, find, on, state } from "./store.js";

const WIDTH = 320, HEIGHT = 120, LEFT = 42, BOTTOM = 20, TOP = 6, RIGHT = 8;
const NAMESPACE = "http://www.w3.org/2000/svg";

function part(parent, kind, attributes, text) {
  const made = document.createElementNS(NAMESPACE, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text != null) made.textContent = text;
  parent.append(made);
  return made;
}

function draw() {
  const points = state.taught?.course ?? [], figure = find("#course");
  figure.hidden = points.length < 2;
  if (figure.hidden) return;
  figure.replaceChildren();
  const last = points.at(-1), most = last.labels;
  const svg = part(figure, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `accuracy rose to ${percent(last.accuracy)} with ${most} labels` });
  const x = (labels) => LEFT + (labels / most) * (WIDTH - LEFT - RIGHT), y = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  for (const share of [0, 0.5, 1]) {
    part(svg, "line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share), class: "rule" });
    part(svg, "text", { x: LEFT - 4, y: y(share) + 4, class: "end" }, percent(share));
  }
  part(svg, "text", { x: WIDTH - RIGHT, y: HEIGHT - 4, class: "end" }, `${most} labels`);
  const along = (key) => points.map((point) => `${x(point.labels)},${y(point[key])}`);
  part(svg, "polygon", { points: [...along("low"), ...along("high").reverse()].join(" "), class: "band" });
  part(svg, "polyline", { points: along("accuracy").join(" "), class: "line" });
  for (const point of points) part(svg, "circle", { cx: x(point.labels), cy: y(point.accuracy), r: 2.5, class: "dot" });
}

const percent = (share) => `${Math.round(100 * share)} %`;

function words() {
  const { taught, done, problem } = state, total = data.ids.length, last = taught?.course.at(-1);
  if (problem) return problem;
  if (done < total) return `looking at all particles: ${percent(done / total)} …`;
  if (!taught?.known) return "Label some of two classes or more; what is typical comes first under “whom to label next”.";
  if (!last) return "Two labels of two classes tell how well they are guessed.";
  return `From ${last.labels} labels, those left out are guessed right in ${percent(last.accuracy)} (95 % interval ${percent(last.low)} to ${percent(last.high)}).`;
}

export function start() {
  on("progress taught", () => { if (find("#state").textContent !== words()) find("#state").textContent = words(); });
  on("taught theme", draw);
}
