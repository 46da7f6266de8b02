// The page: a photo or a video in, by file, drop, paste or camera; each is shown in its own way.

import { models, useKey } from "./api.js";
import { takePicture } from "./camera.js";
import * as film from "./film.js";
import { isVideo } from "./frames.js";
import * as photo from "./photo.js";
import { offer } from "./saving.js";
import { fail } from "./telling.js";

const at = (id) => document.getElementById(id);
let shown = null; // photo or film

function open(file) {
  if (!file) return;
  shown?.close();
  shown = isVideo(file) ? film : photo;
  shown.open(file);
}

async function showModel() {
  const { models: [model] } = await models();
  const { pooling } = model;
  const patches = pooling.grid ** 2;
  const kept = pooling.patch_keep ?? 1; // a count, or a rate, which the network rounds down
  photo.setDial(patches, kept > 1 ? kept : Math.max(1, Math.floor(kept * patches)));
  const measured = model.metrics[0];
  const score = measured ? `, ${percentOf(measured.accuracy)} of faces right on ${measured.dataset} ${measured.split}` : "";
  at("model").textContent = `Weights: ${model.name}${score}. ${model.licence}`;
}

const percentOf = (share) => `${(100 * share).toFixed(1)} %`;

at("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
at("camera").addEventListener("click", () => takePicture().then(open, fail));
addEventListener("paste", (event) => open(fileOf(event.clipboardData)));
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
  open(fileOf(event.dataTransfer));
});
const fileOf = (transfer) => transfer?.files[0];

at("saving").addEventListener("click", async (event) => {
  const { form } = event.target.dataset;
  if (form) offer(await shown.save(form), form);
});
at("keyform").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  at("keyform").hidden = at("error").hidden = true;
  showModel().then(() => shown?.again()).catch(fail);
});

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
