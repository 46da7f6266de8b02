// Watching a video: the faces of the moment over it and beside it, and the cursor on the timeline.

import { clock } from "./clock.js";
import { draw, percent } from "./drawing.js";
import { momentAt } from "./moments.js";
import { showFaces } from "./results.js";
import { OPEN } from "./shares.js";
import { onSeek, point } from "./timeline.js";

/** How faces are drawn: none of them is marked. */
export const VIEW = { layer: "none", chosen: -1 };

const at = (id) => document.getElementById(id);
const [video, boxes] = [at("video"), at("boxes")];
let film = null; // what is known of the video on show: its frames with their faces, every so many seconds, portraits
let listed = null; // the frame whose faces stand beside it
let next = 0; // the drawing that comes next while it plays

/** Show from now on what is known of this film; null: there is no video. */
export function watch(given) {
  film = given;
  cancelAnimationFrame(next);
}

/** The faces of the moment. */
export function facesOnShow() {
  return moment()?.faces ?? [];
}

/** Show and tell the moment, when more is known or the person has gone somewhere. */
export function showMoment() {
  listed = undefined;
  drawMoment();
  const faces = moment()?.faces;
  const told = faces?.map(({ track, expression, probability }) => {
    return `face ${track} ${expression ?? OPEN} ${percent(probability)}`;
  });
  point(video.currentTime, told ? told.join(", ") || "no face" : "not looked at yet");
}

function moment() {
  return momentAt(film.frames, video.currentTime, film.every);
}

function drawMoment() {
  const { frame, faces } = moment() ?? { frame: null, faces: [] };
  const density = window.devicePixelRatio;
  boxes.width = Math.round(boxes.clientWidth * density);
  boxes.height = Math.round(boxes.clientHeight * density);
  draw(boxes.getContext("2d"), faces, { ...VIEW, scale: boxes.width / video.videoWidth, text: 13 * density });
  if (frame !== listed) {
    listed = frame;
    showFaces(at("faces"), faces.map((face) => ({ ...face, portrait: film.portraits.of(face.track) })), -1);
  }
  at("moment").textContent = `At ${clock(video.currentTime, 1)}${faces.length ? "" : ": no face"}`;
  point(video.currentTime);
}

function play() {
  drawMoment();
  cancelAnimationFrame(next);
  if (!video.paused) next = requestAnimationFrame(play);
}

function seek(time) {
  video.currentTime = Math.max(0, Math.min(time, video.duration));
  showMoment(); // at once, as the picture may take its time
}

video.addEventListener("play", play);
for (const event of ["seeked", "pause"]) video.addEventListener(event, () => film && showMoment());
new ResizeObserver(() => film && drawMoment()).observe(video);
onSeek(seek, (seconds) => seek(video.currentTime + seconds));
