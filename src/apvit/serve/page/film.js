// A video: looked through frame by frame, its faces on a timeline.

import { models } from "./api.js";
import { clock } from "./clock.js";
import { Following } from "./following.js";
import { framesOf, load, rounded } from "./frames.js";
import { lookAt } from "./looking.js";
import { Portraits } from "./portraits.js";
import { faceColumns, faceRow, toCsv, toJson, toPng } from "./saving.js";
import { MIN_TRACK, tracksOf } from "./shares.js";
import { showShares } from "./table.js";
import { fail, tell } from "./telling.js";
import { LANES, showTimeline } from "./timeline.js";
import { facesOnShow, showMoment, VIEW, watch } from "./watching.js";

const at = (id) => document.getElementById(id);
const video = at("video");
let film = null; // the video on show: name, url, every; frames with their faces, who is who in them, tracks, portraits
let opening = new AbortController();
let looking = new AbortController();

/** Show a video file and look through it. */
export async function open(file) {
  const { signal } = (opening = new AbortController());
  const { name } = file;
  const url = URL.createObjectURL(file);
  film = { name, url, ...nothingSeen() };
  watch(film);
  at("film").hidden = false;
  document.body.classList.add("answered");
  tell("Opening the video …");
  try {
    await load(video, url, name, signal);
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
    at("film").hidden = true;
    document.body.classList.remove("answered");
    return;
  }
  at("film").style.setProperty("--aspect", video.videoWidth / video.videoHeight);
  at("timeline").hidden = at("png").disabled = false;
  await look();
}

/** Go on with the same video. */
export const again = look;

/** Take the video away. */
export function close() {
  opening.abort();
  looking.abort();
  video.pause();
  video.removeAttribute("src");
  video.load(); // which lets go of the file
  URL.revokeObjectURL(film.url);
  film = null;
  watch(null);
  at("film").hidden = at("timeline").hidden = at("panel").hidden = at("moment").hidden = true;
}

/** What was found as a file, "json" or "csv", or as "png" the frame on show with what is drawn on it. */
export async function save(form) {
  const { name: source, every, frames, tracks } = film;
  const { videoWidth: width, videoHeight: height, duration: seconds } = video;
  if (form === "png") return { source, blob: await toPng({ width, height, faces: facesOnShow() }, video, VIEW) };
  if (form === "csv") {
    const columns = ["source", "time", "width", "height", "track", ...faceColumns(tracks[0].looks[0].face), "warning"];
    const rows = frames.flatMap(({ time, width, height, faces, warning }) => {
      const frame = { source, time, width, height, warning };
      return faces.length ? faces.map((face) => ({ ...frame, track: face.track, ...faceRow(face) })) : [frame];
    });
    return { source, blob: toCsv(columns, rows) };
  }
  const summary = tracks.map(({ looks, ...track }) => ({ ...track, frames: looks.length }));
  return { source, blob: toJson({ source, seconds, every, tracks: summary, frames }) };
}

function nothingSeen() {
  const every = Number(at("every").value);
  const portraits = new Portraits(() => film?.portraits === portraits && showTracks());
  return { every, frames: [], following: new Following(), tracks: [], portraits };
}

/** Look at what was not looked at yet. */
async function look() {
  looking.abort();
  const { signal } = (looking = new AbortController());
  const { name, url, every } = film;
  const from = film.frames.length ? rounded(film.frames.at(-1).time + every) : 0;
  const start = performance.now();
  const looked = (frames, results) => {
    frames.forEach((frame, i) => add(frame, results[i]));
    showTracks();
    showProgress((performance.now() - start) / 1000 / (film.frames.at(-1).time + every - from));
    tell("Looking through the video …");
  };
  const busy = (seconds) => tell(`The service is busy; going on in ${seconds} s …`);
  tell("Looking through the video …");
  showTracks();
  showProgress();
  try {
    const { limits } = await models();
    const frames = framesOf(url, name, { from, every, pixels: limits.pixels }, signal);
    await lookAt(frames, limits, signal, { looked, busy });
    at("progress").hidden = at("stop").hidden = true;
    tell(sentence());
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
    pauseLooking();
  }
}

/** Take the service's answer for a frame, in pixels of the video. */
function add({ time, width, height, picture, cut }, result) {
  const { following, portraits, frames } = film;
  const numbers = following.step(time, result.faces.map(({ box }) => box), cut);
  const enlarge = (value) => rounded((value * width) / result.width);
  const faces = result.faces.map(({ box, landmarks, ...rest }, i) => {
    const track = numbers[i];
    portraits.offer(track, picture, result, box);
    return { track, box: box.map(enlarge), landmarks: landmarks?.map((place) => place.map(enlarge)) ?? null, ...rest };
  });
  faces.sort((a, b) => a.track - b.track);
  frames.push({ time, width, height, faces, error: result.error, warning: result.warning });
}

/** Show the faces on the timeline, of very many those that were seen longest. */
function showTracks() {
  const { frames, every, portraits } = film;
  const { duration } = video;
  film.tracks = tracksOf(frames, every, duration);
  const longest = film.tracks.toSorted((a, b) => b.seconds - a.seconds).slice(0, LANES);
  const lanes = film.tracks.filter((track) => longest.includes(track));
  const expressions = Object.keys(lanes[0]?.looks[0].face.probabilities ?? {});
  showTimeline(lanes, { expressions, portraits, duration, every });
  showShares(at("shares").firstElementChild, lanes, expressions);
  at("panel").hidden = at("shares").hidden = at("moment").hidden = !lanes.length;
  showMoment();
}

/** `pace`: seconds that a second of the video takes, where that is known. */
function showProgress(pace = null) {
  const { frames, every } = film;
  const { duration } = video;
  const done = frames.length ? Math.min(frames.at(-1).time + every, duration) : 0;
  at("progress").hidden = at("stop").hidden = false;
  at("stop").textContent = "Stop";
  [at("looked").max, at("looked").value] = [duration, done];
  const left = pace === null ? "" : `, about ${clock(pace * (duration - done))} left`;
  at("left").textContent = `${clock(done)} of ${clock(duration)}${left}`;
}

/** What was found stays; a person may go on. */
function pauseLooking() {
  looking.abort();
  showProgress();
  at("stop").textContent = "Go on";
}

function sentence() {
  const { frames, tracks } = film;
  if (!tracks.length) {
    const nobody = frames.some(({ faces }) => faces.length) ? `seen for ${MIN_TRACK} s` : "found";
    return `No face was ${nobody} in ${frames.length} frames. Try more frames, or a larger or sharper video.`;
  }
  const told = tracks.slice(0, 5).map(({ track, main, share, seconds }) => {
    return `face ${track} ${main} for ${(share[main] * seconds).toFixed(1)} s`;
  });
  const more = tracks.length > 5 ? ", …" : "";
  const hidden = tracks.length > LANES ? ` (on the timeline: the ${LANES} that were seen longest)` : "";
  return `${tracks.length === 1 ? "One face" : `${tracks.length} faces`}${hidden}: ${told.join(", ")}${more}`;
}

at("stop").addEventListener("click", () => {
  if (looking.signal.aborted) {
    look();
    return;
  }
  pauseLooking();
  tell(`Stopped at ${clock(at("looked").value, 1)}; what was found until there is kept.`);
});
at("every").addEventListener("change", () => {
  Object.assign(film, nothingSeen());
  look();
});
