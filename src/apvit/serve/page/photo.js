// A photo: its faces, why, and the dial.

import { explain, recognize } from "./api.js";
import { draw } from "./drawing.js";
import { sentence, showFaces } from "./results.js";
import { faceColumns, faceRow, toCsv, toJson, toPng } from "./saving.js";
import { fail, tell } from "./telling.js";

const MEANINGS = {
  none: "",
  kept: "Dark patches were dropped: the network went on without them.",
  relevance: "The lighter a place, the more it spoke for the expression that was named.",
};
/** Looks at the same photo for a time that can be trusted; the least disturbed counts. */
const LOOKS = 3;

const at = (id) => document.getElementById(id);
const [photo, drawing, slider] = [at("photo"), at("drawing"), at("keep")];
let picture = null; // the File on show
let result = null; // what the service said of it
let keep = null; // patches of a face, null for what the weights say
let standard = null; // what they say
let chosen = 0; // the face whose card is marked
let asking = new AbortController();

/** Show a picture file and what the service says of it. */
export async function open(file) {
  picture = file;
  [result, chosen] = [null, 0];
  photo.src = URL.createObjectURL(file);
  at("shown").hidden = false;
  document.body.classList.add("answered");
  redraw();
  await ask("Looking …");
}

/** Ask about the same picture again. */
export function again() {
  close();
  open(picture);
}

/** Take the picture away. */
export function close() {
  asking.abort();
  at("shown").hidden = at("panel").hidden = at("controls").hidden = true;
  URL.revokeObjectURL(photo.src);
}

/** The result as a file, "json", "csv" or "png": the photo in full size with what is drawn on it. */
export async function save(form) {
  const { source, width, height, faces, warning } = result;
  if (form === "png") return { source, blob: await toPng(result, photo, view()) };
  if (form === "json") return { source, blob: toJson(result) };
  const columns = ["source", "face", "width", "height", ...faceColumns(faces[0]), "error", "warning"];
  const rows = faces.map((face, i) => ({ source, face: i + 1, width, height, ...faceRow(face), warning }));
  return { source, blob: toCsv(columns, rows) };
}

/** How many patches a face has, and how many of them the weights keep. */
export function setDial(patches, kept) {
  slider.max = patches;
  standard = kept;
  showDial();
}

/** Ask the service about the picture; a newer question ends an older one. */
async function ask(meanwhile) {
  asking.abort();
  const { signal } = (asking = new AbortController());
  const options = keep === null ? {} : { keep };
  tell(meanwhile);
  try {
    const first = await recognize([picture], options, signal);
    show(first.results[0], result?.faces);
    let least = first.milliseconds.classifying;
    showTime(least);
    if (!result.faces.length) return;
    show((await explain([picture], options, signal)).results[0]);
    for (let i = 1; i < LOOKS; i++) {
      least = Math.min(least, (await recognize([picture], options, signal)).milliseconds.classifying);
      if (!signal.aborted) showTime(least);
    }
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
    if (!result) {
      at("shown").hidden = true;
      document.body.classList.remove("answered");
    }
  }
}

/** Show a result; until it is explained, with the explanations of `before`. */
function show(found, before = []) {
  found.faces.forEach((face, i) => (face.explanation ??= before[i]?.explanation));
  result = found;
  at("panel").hidden = at("controls").hidden = !result.faces.length;
  showFaces(at("faces"), result.faces, chosen);
  const told = sentence(result.faces) + (result.warning ? ` (${result.warning})` : "");
  tell(told);
  drawing.setAttribute("aria-label", `The photo with boxes. ${told}`);
  redraw();
}

function view() {
  return { layer: document.querySelector("[name=layer]:checked").value, chosen };
}

function redraw() {
  const density = window.devicePixelRatio;
  drawing.width = Math.round(drawing.clientWidth * density);
  drawing.height = Math.round(drawing.clientHeight * density);
  if (result?.width) {
    draw(drawing.getContext("2d"), result.faces, { ...view(), scale: drawing.width / result.width, text: 13 * density });
  }
}

function showDial() {
  slider.value = keep ?? standard;
  const told = `${slider.value} of ${slider.max}`;
  at("kept").textContent = `${told} (${Math.round((100 * slider.value) / slider.max)} %)`;
  slider.setAttribute("aria-valuetext", told);
  at("reset").hidden = keep === null;
}

function showTime(milliseconds) {
  const many = result.faces.length === 1 ? "this face" : `these ${result.faces.length} faces`;
  const number = document.createElement("b");
  number.textContent = `${milliseconds.toFixed(1)} ms`;
  at("time").replaceChildren(number, ` for ${many} in the network`);
}

at("layers").addEventListener("change", () => {
  at("meaning").textContent = MEANINGS[view().layer];
  redraw();
});
let settling;
slider.addEventListener("input", () => {
  keep = Number(slider.value);
  showDial();
  clearTimeout(settling);
  settling = setTimeout(ask, 150, at("status").textContent);
});
at("reset").addEventListener("click", () => {
  keep = null;
  showDial();
  slider.focus();
  ask(at("status").textContent);
});
drawing.addEventListener("click", (event) => {
  if (!result?.width) return;
  const scale = result.width / drawing.clientWidth;
  const [x, y] = [event.offsetX * scale, event.offsetY * scale];
  const hit = result.faces.findIndex(({ box: [x1, y1, x2, y2] }) => x1 <= x && x <= x2 && y1 <= y && y <= y2);
  if (hit < 0) return;
  chosen = hit;
  showFaces(at("faces"), result.faces, chosen);
  at("faces").children[hit].scrollIntoView({ block: "nearest" });
  redraw();
});
new ResizeObserver(redraw).observe(photo);
// A format that the service reads and the browser does not: the faces are listed all the same.
photo.addEventListener("load", () => (at("png").disabled = false));
photo.addEventListener("error", () => (at("png").disabled = at("shown").hidden = true));
