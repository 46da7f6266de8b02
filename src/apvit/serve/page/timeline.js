// The timeline: a lane per face. Above, its expression; below, the probabilities stacked; empty where it was not seen.

import { clock } from "./clock.js";
import { COLOURS, inkOn, percent } from "./drawing.js";
import { make } from "./elements.js";

/** Faces shown at most: those that were seen longest. */
export const LANES = 12;
/** In pixels of the page. */
const [STRIP, GAP, TEXT, TICK] = [20, 2, 12, 64];
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

const at = (id) => document.getElementById(id);
const [rows, ticks, seek] = [at("rows"), at("ticks"), at("seek")];
let shown = { tracks: [], expressions: [], portraits: null, duration: 1 };
let step = 1; // seconds that a key moves the cursor

/** Show `tracks` (see `tracksOf`) over so many seconds; with their `portraits`. */
export function showTimeline(tracks, { expressions, portraits, duration, every }) {
  shown = { tracks, expressions, portraits, duration };
  step = every;
  at("lanes").hidden = at("legend").hidden = !tracks.length;
  while (rows.children.length > tracks.length) rows.lastChild.remove();
  while (rows.children.length < tracks.length) rows.append(makeRow());
  at("legend").replaceChildren(...expressions.map(makeEntry));
  draw();
}

/** Move the cursor to `time`; with `told` also that of screen readers, which do not want to hear each frame. */
export function point(time, told = null) {
  seek.firstChild.style.left = `${(100 * time) / shown.duration}%`;
  if (told === null) return;
  seek.setAttribute("aria-valuemax", shown.duration.toFixed(1));
  seek.setAttribute("aria-valuenow", time.toFixed(1));
  seek.setAttribute("aria-valuetext", `${clock(time, 1)}: ${told}`);
}

/** Call `go(seconds)` when a person points at a time, `move(seconds)` when one goes on or back by so many. */
export function onSeek(go, move) {
  const timeOf = (event) => {
    const { left, width } = seek.getBoundingClientRect();
    return (shown.duration * (event.clientX - left)) / width;
  };
  seek.addEventListener("pointerdown", (event) => {
    seek.setPointerCapture(event.pointerId);
    go(timeOf(event));
  });
  seek.addEventListener("pointermove", (event) => seek.hasPointerCapture(event.pointerId) && go(timeOf(event)));
  const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
  moves.Home = -Infinity;
  moves.End = Infinity;
  seek.addEventListener("keydown", (event) => {
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(moves[event.key] * step);
  });
}

function draw() {
  shown.tracks.forEach((track, i) => {
    fillRow(rows.children[i], track);
    drawLane(rows.children[i].querySelector("canvas"), track.looks);
  });
  const most = Math.max(1, ticks.clientWidth / TICK);
  const every = STEPS.find((seconds) => shown.duration / seconds <= most) ?? STEPS.at(-1);
  const times = Array.from({ length: Math.floor(shown.duration / every) + 1 }, (_, i) => i * every);
  ticks.replaceChildren(...times.map((time) => makeTick(time, every < 1 ? 1 : 0)));
}

function makeRow() {
  const row = make("div", "row");
  const title = row.appendChild(make("div", "who"));
  title.append(make("img"), make("span"));
  title.firstChild.alt = "";
  row.append(make("canvas"));
  row.lastChild.setAttribute("aria-hidden", "true"); // the table of shares says it
  return row;
}

function fillRow(row, { track, main, share }) {
  const [image, title] = row.firstChild.children;
  const portrait = shown.portraits.of(track);
  image.hidden = !portrait;
  if (portrait && image.src !== portrait) image.src = portrait;
  title.replaceChildren(make("b", "", `Face ${track}`), make("small", "", `${main} ${percent(share[main])}`));
}

function drawLane(canvas, looks) {
  const density = window.devicePixelRatio;
  [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * density));
  const context = canvas.getContext("2d");
  const placed = looks.map(({ start, end, face }) => {
    const [left, right] = [start, end].map((time) => Math.round((time / shown.duration) * canvas.width));
    return { left, right, face };
  });
  // Where several share a pixel, the one that reaches beyond it has it.
  const seen = placed.filter(({ left, right }) => left < right);
  for (const { left, right, face } of seen) drawStack(context, left, right, face.probabilities, density);
  for (const run of runsOf(seen)) drawRun(context, run, density);
}

/** From the top down, each over all that stands above it, so that no seam shows between two. */
function drawStack(context, left, right, probabilities, density) {
  const { height } = context.canvas;
  const room = height - (STRIP + GAP) * density;
  let top = 1;
  for (const name of shown.expressions.toReversed()) {
    context.fillStyle = COLOURS[name];
    context.fillRect(left, height - top * room, right - left, top * room);
    top -= probabilities[name];
  }
}

/** Neighbours with the same expression as one. */
function runsOf(looks) {
  const runs = [];
  for (const { left, right, face: { expression } } of looks) {
    const last = runs.at(-1);
    if (last?.expression === expression && last.right === left) last.right = right;
    else runs.push({ left, right, expression });
  }
  return runs;
}

function drawRun(context, { left, right, expression }, density) {
  context.fillStyle = COLOURS[expression];
  context.fillRect(left, 0, right - left, STRIP * density);
  const name = expression ?? "open";
  context.font = `${TEXT * density}px system-ui, sans-serif`;
  if (context.measureText(name).width + TEXT * density > right - left) return;
  context.fillStyle = inkOn(COLOURS[expression]);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(name, (left + right) / 2, (STRIP / 2 + 1) * density);
}

function makeTick(time, decimals) {
  const tick = make("span", "", clock(time, decimals));
  tick.style.left = `${(100 * time) / shown.duration}%`;
  return tick;
}

function makeEntry(name) {
  const entry = make("li");
  entry.append(make("i"), name);
  entry.firstChild.style.background = COLOURS[name];
  return entry;
}

new ResizeObserver(draw).observe(rows);
