// Cuts to another scene, so that a face is not followed into the face of somebody else at the same place.

/** A picture in grey pixels, few enough to compare, and the parts of it that are compared one by one. */
const [WIDTH, HEIGHT] = [32, 18];
const [WIDE, HIGH] = [8, 6];
/** Pixels that a camera may have turned between two frames. */
const [ACROSS, DOWN] = [3, 1];
/** Correlation below which two frames show different scenes, however one of them is shifted. */
const SAME = 0.4;
/** Standard deviation in grey levels below which there is nothing to compare, as in a wall or a black frame. */
const FLAT = 2;

const canvas = new OffscreenCanvas(WIDTH, HEIGHT);
const context = canvas.getContext("2d", { willReadFrequently: true });
context.imageSmoothingQuality = "high";

/** What `isCut` compares: the grey pixels of a picture, row by row. */
export function sceneOf(picture) {
  context.drawImage(picture, 0, 0, WIDTH, HEIGHT);
  const { data } = context.getImageData(0, 0, WIDTH, HEIGHT);
  const grey = (_, i) => 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
  return Array.from({ length: WIDTH * HEIGHT }, grey);
}

/**
 * Whether a cut lies between two scenes.
 *
 * Most parts decide, so that something large that comes or goes is none; nor is a camera that turns, nor a flash.
 */
export function isCut(before, after) {
  if (!partOf(before, 0, 0, WIDTH, HEIGHT) || !partOf(after, 0, 0, WIDTH, HEIGHT)) return false;
  for (let right = -ACROSS; right <= ACROSS; right++) {
    for (let down = -DOWN; down <= DOWN; down++) {
      if (likeness(before, after, right, down) >= SAME) return false;
    }
  }
  return true;
}

/** The median over the parts of `before` that are in the picture still, after a shift by so many pixels. */
function likeness(before, after, right, down) {
  const found = [];
  for (let x = 0; x < WIDTH; x += WIDE) {
    for (let y = 0; y < HEIGHT; y += HIGH) {
      const [left, top] = [x + right, y + down];
      if (left < 0 || top < 0 || left + WIDE > WIDTH || top + HIGH > HEIGHT) continue;
      const [p, q] = [partOf(before, x, y, WIDE, HIGH), partOf(after, left, top, WIDE, HIGH)];
      found.push(p && q ? dot(p, q) : Number(!p && !q));
    }
  }
  found.sort((a, b) => a - b);
  return (found[(found.length - 1) >> 1] + found[found.length >> 1]) / 2;
}

/** A part of a scene with mean 0 and length 1; null where it is flat. */
function partOf(scene, left, top, wide, high) {
  const values = [];
  for (let y = top; y < top + high; y++) values.push(...scene.slice(y * WIDTH + left, y * WIDTH + left + wide));
  const mean = values.reduce((sum, value) => sum + value) / values.length;
  const centred = values.map((value) => value - mean);
  const length = Math.sqrt(dot(centred, centred));
  return length < FLAT * Math.sqrt(values.length) ? null : centred.map((value) => value / length);
}

function dot(a, b) {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}
