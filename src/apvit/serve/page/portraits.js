// Small pictures of faces, so that a person sees who "face 2" is.

const SIDE = 96;
/** Sides of the box that are shown. */
const MARGIN = 1.25;
/** A later look is preferred where it is so many times as large. */
const BETTER = 1.2;

/** A picture per track, of a look at which the face was large and whole. */
export class Portraits {
  #known = new Map(); // track: { url, worth }
  #changed;

  /** `changed()` is called when there is a new picture. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** The picture of a track as a data URL; "" where there is none yet. */
  of(track) {
    return this.#known.get(track)?.url ?? "";
  }

  /** Consider the face in `box` of a picture file that is so large. */
  async offer(track, picture, { width, height }, [x1, y1, x2, y2]) {
    const side = MARGIN * Math.max(x2 - x1, y2 - y1);
    const [left, top] = [(x1 + x2 - side) / 2, (y1 + y2 - side) / 2];
    const isWhole = left >= 0 && top >= 0 && left + side <= width && top + side <= height;
    const worth = isWhole ? 2 * side : side;
    if (worth < BETTER * (this.#known.get(track)?.worth ?? 0)) return;
    this.#known.set(track, { url: this.of(track), worth });
    const url = await cut(picture, left, top, side);
    if (this.#known.get(track).worth > worth) return; // a better one came meanwhile
    this.#known.set(track, { url, worth });
    this.#changed();
  }
}

async function cut(picture, left, top, side) {
  const whole = await createImageBitmap(picture);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, left, top, side, side, 0, 0, SIDE, SIDE);
  whole.close();
  return canvas.toDataURL("image/jpeg", 0.85);
}
