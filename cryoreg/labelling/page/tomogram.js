// A section of the tomogram, across the beam, with the particles that are near it; it follows the particle one is at.
import { colourOf, data, find, on, select, state, style, suggestion, tell } from "./store.js";
import { show } from "./order.js";
import { bringIntoView } from "./grid.js";

const canvas = find("#section"), slider = find("#z"), picture = new Image();
let number = -1, shownZ = -1, wanted = 0, members = [];

const scale = () => canvas.clientWidth / data.tomograms[number].shape[2];
const place = (row) => { const [x, y] = data.places[row], [, height] = data.tomograms[number].shape; return [(x + 0.5) * scale(), (height - 0.5 - y) * scale()]; };
const reach = () => data.tomograms[number].reach;

function follow() {
  if (!data.tomograms.length) return;
  const now = data.which[state.focus];
  if (now !== number) {
    number = now;
    shownZ = -1;
    members = data.which.flatMap((which, row) => (which === number ? [row] : []));
    slider.max = data.tomograms[number].shape[0] - 1;
    find("#tomogram-name").textContent = `Tomogram ${data.tomograms[number].name}`;
  }
  goTo(Math.round(data.places[state.focus][2]));
}

function goTo(z) {
  slider.value = z;
  find("#depth").textContent = `${slider.value} of ${slider.max}`;
  clearTimeout(wanted);
  wanted = setTimeout(() => {
    if (shownZ !== Number(slider.value)) { shownZ = Number(slider.value); picture.src = `sections/${number}/${shownZ}`; }
    draw();
  }, 60);
}

function draw() {
  if (number < 0) return;
  const [, height, width] = data.tomograms[number].shape, ratio = devicePixelRatio, context = canvas.getContext("2d");
  canvas.style.aspectRatio = `${width} / ${height}`;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.scale(ratio, ratio);
  if (picture.complete && picture.naturalWidth) context.drawImage(picture, 0, 0, canvas.clientWidth, canvas.clientHeight);
  for (const row of members) {
    const away = Math.abs(data.places[row][2] - Number(slider.value)) / reach();
    if (away >= 1) continue;
    const [x, y] = place(row), name = state.labels[row] || suggestion(row)?.name || "";
    context.globalAlpha = state.labels[row] ? 1 : 0.7;
    context.lineWidth = row === state.focus ? 4 : state.selected.has(row) ? 3 : 1.5;
    context.strokeStyle = row === state.focus && !name ? style("--accent") : colourOf(name);
    context.setLineDash(state.labels[row] ? [] : [4, 3]);
    context.beginPath();
    context.arc(x, y, Math.max(3, reach() * scale() * Math.sqrt(1 - away * away)), 0, 7);
    context.stroke();
  }
}

function clicked(event) {
  const near = members.map((row) => [Math.hypot(place(row)[0] - event.offsetX, place(row)[1] - event.offsetY) + Math.abs(data.places[row][2] - Number(slider.value)) * scale(), row]);
  const [, row] = near.reduce((best, each) => (each[0] < best[0] ? each : best));
  if (!state.order.includes(row)) show("all");
  select([], row);
  bringIntoView();
  tell("focus");
}

export function start() {
  find("#tomogram").hidden = !data.tomograms.length;
  if (!data.tomograms.length) return;
  picture.addEventListener("load", draw);
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); goTo(Number(slider.value) + Math.sign(event.deltaY)); }, { passive: false });
  canvas.addEventListener("click", clicked);
  new ResizeObserver(draw).observe(canvas.parentElement);
  on("focus order", follow);
  on("labels taught selection theme", draw);
}
