// The page: a photo in, its faces out, and the dial between.

import { explain, models, ProblemError, recognize, useKey } from "./api.js";
import { takePicture } from "./camera.js";
import { draw } from "./drawing.js";
import { sentence, showFaces } from "./results.js";
import { save } from "./saving.js";

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
let chosen = 0; // the face whose card is marked
let standard = null; // what they say
let asking = new AbortController();

async function look(file) {
  if (!file) return;
  picture = file;
  [result, chosen] = [null, 0];
  at("panel").hidden = at("controls").hidden = true;
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  at("shown").hidden = false;
  document.body.classList.add("answered");
  redraw();
  await ask("Looking …");
}

/** Ask the service about the picture; a newer question ends an older one. */
async function ask(meanwhile) {
  asking.abort();
  const { signal } = (asking = new AbortController());
  at("error").hidden = at("keyform").hidden = true;
  at("status").textContent = meanwhile;
  try {
    const first = await recognize(picture, keep, signal);
    show(first.results[0], result?.faces);
    let least = first.milliseconds.classifying;
    showTime(least);
    if (!result.faces.length) return;
    show((await explain(picture, keep, signal)).results[0]);
    for (let i = 1; i < LOOKS; i++) {
      least = Math.min(least, (await recognize(picture, keep, signal)).milliseconds.classifying);
      if (!signal.aborted) showTime(least);
    }
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  }
}

/** Show a result; until it is explained, with the explanations of `before`. */
function show(found, before = []) {
  found.faces.forEach((face, i) => (face.explanation ??= before[i]?.explanation));
  result = found;
  at("panel").hidden = at("controls").hidden = !result.faces.length;
  showFaces(at("faces"), result.faces, chosen);
  const told = sentence(result.faces);
  if (at("status").textContent !== told) at("status").textContent = told;
  drawing.setAttribute("aria-label", `The photo with boxes. ${told}`);
  redraw();
}

function fail(error) {
  at("status").textContent = "";
  at("error").textContent = error.message;
  at("error").hidden = false;
  if (!result) {
    at("shown").hidden = true;
    document.body.classList.remove("answered");
  }
  if (error instanceof ProblemError && error.status === 401) {
    at("keyform").hidden = false;
    at("key").focus();
  }
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

async function showModel() {
  const { models: [model] } = await models();
  const { pooling } = model;
  slider.max = pooling.grid ** 2;
  const kept = pooling.patch_keep ?? 1; // a count, or a rate, which the network rounds down
  standard = kept > 1 ? kept : Math.max(1, Math.floor(kept * slider.max));
  const measured = model.metrics[0];
  const score = measured ? `, ${percentOf(measured.accuracy)} of faces right on ${measured.dataset} ${measured.split}` : "";
  at("model").textContent = `Weights: ${model.name}${score}. ${model.licence}`;
  showDial();
}

const percentOf = (share) => `${(100 * share).toFixed(1)} %`;

at("file").addEventListener("change", (event) => {
  look(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
at("camera").addEventListener("click", () => takePicture().then(look, fail));
addEventListener("paste", (event) => look(pictureOf(event.clipboardData)));
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  look(pictureOf(event.dataTransfer));
});
const pictureOf = (transfer) => transfer?.files[0];

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
at("saving").addEventListener("click", (event) => {
  const { form } = event.target.dataset;
  if (form) save(form, result, photo, view());
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
at("keyform").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  showModel().then(() => picture && look(picture)).catch(fail);
});
new ResizeObserver(redraw).observe(photo);
// A format that the service reads and the browser does not: the faces are listed all the same.
photo.addEventListener("load", () => (at("png").disabled = false));
photo.addEventListener("error", () => (at("png").disabled = at("shown").hidden = true));

const dark = matchMedia("(prefers-color-scheme: dark)");
function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  at("theme").textContent = theme === "dark" ? "Light theme" : "Dark theme";
}
showTheme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => showTheme(dark.matches ? "dark" : "light"));
at("theme").addEventListener("click", () => {
  showTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});

showModel().catch(fail);
