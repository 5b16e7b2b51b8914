// The particle that one is at: all looks, a projection that turns, and what is known of it.
import { data, find, make, on, state, suggestion } from "./store.js";

const NAMES = { slice: "slice across the beam", side: "slice along the beam", denoised: "denoised slice", projection: "projection" };
let pictures = {};

const wide = () => (data.voxel_size ? `${Math.round(data.box[2] * data.voxel_size)} Å` : `${data.box[2]} voxels`);

function draw() {
  const row = state.focus, turn = find("#turn").value;
  find("#degrees").textContent = `${turn}°`;
  for (const [look, picture] of Object.entries(pictures)) {
    const source = `pictures/${look}/${row}${look === "projection" ? `?turn=${turn}` : ""}`;
    if (picture.getAttribute("src") !== source) picture.setAttribute("src", source);
  }
  const about = find("#about"), perhaps = suggestion(row), code = data.tomogram.codes[row];
  about.replaceChildren();
  make(about, "code", data.ids[row]);
  const lines = [
    `box of ${wide()}`,
    code >= 0 && `tomogram ${data.tomogram.names[code]}`,
    data.said && data.said.codes[row] >= 0 && `the data say: ${data.said.names[data.said.codes[row]]}`,
    state.labels[row] ? `class ${state.labels[row]}` : "no class",
    perhaps && `perhaps ${perhaps.name}, ${perhaps.confidence} %`,
  ];
  for (const line of lines) if (line) make(about, "span", line);
}

export function start() {
  for (const look of data.looks) {
    const figure = make(find("#looks"), "figure");
    pictures[look] = make(figure, "img", null, { alt: `${NAMES[look]} of the particle` });
    make(figure, "figcaption", look);
  }
  let waiting = 0;
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(draw, 60); };  // not each of many on the way
  find("#turn").addEventListener("input", soon);
  on("focus labels taught order", soon);
}
