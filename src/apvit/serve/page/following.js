// Who is who from look to look, by where the boxes are; what a face looks like plays no part.

/** Seconds that a face may be gone and keep its number. */
const BRIDGE = 1;
/** Sides of the face that its centre may have moved: at once, with one more per second, and at most. */
const [LEAST_REACH, MOST_REACH] = [0.5, 1.5];
/** A face does not halve its size between two looks. */
const LEAST_SIZE = 0.5;

/** Gives faces track numbers, from 1 and never twice, as `apvit recognize` does in videos. */
export class Following {
  #tracks = []; // { number, box, seen }
  #numbers = 0;
  #last = -Infinity;

  /** The tracks of the `boxes` [x1, y1, x2, y2] of a frame at `time` (seconds); a cut leaves all earlier ones behind. */
  step(time, boxes, cut) {
    const known = cut ? [] : this.#tracks.filter((track) => this.#last - track.seen <= BRIDGE);
    const pairs = known.flatMap((track) => boxes.map((box, i) => ({ track, i, far: distance(track, box, time) })));
    const joined = new Map(); // the box's place: its track
    for (const { track, i } of pairs.filter(({ far }) => far < Infinity).sort((a, b) => a.far - b.far)) {
      if (!joined.has(i) && ![...joined.values()].includes(track)) joined.set(i, track);
    }
    const numbers = boxes.map((_, i) => joined.get(i)?.number ?? ++this.#numbers);
    const gone = known.filter((track) => !numbers.includes(track.number));
    this.#tracks = [...gone, ...boxes.map((box, i) => ({ number: numbers[i], box, seen: time }))];
    this.#last = time;
    return numbers;
  }
}

/** How ill `box` continues a track: the way of the centre in sides of the face, less the overlap; Infinity: not at all. */
function distance(track, box, time) {
  const sides = [side(track.box), side(box)];
  if (Math.min(...sides) < LEAST_SIZE * Math.max(...sides)) return Infinity;
  const [x, y] = [0, 1].map((axis) => (track.box[axis] + track.box[axis + 2] - box[axis] - box[axis + 2]) / 2);
  const way = (2 * Math.hypot(x, y)) / (sides[0] + sides[1]);
  return way > Math.min(LEAST_REACH + time - track.seen, MOST_REACH) ? Infinity : way - overlap(track.box, box);
}

/** Intersection over union of two boxes. */
function overlap(a, b) {
  const [width, height] = [0, 1].map((axis) => Math.min(a[axis + 2], b[axis + 2]) - Math.max(a[axis], b[axis]));
  const both = Math.max(0, width) * Math.max(0, height);
  return both / (side(a) ** 2 + side(b) ** 2 - both);
}

function side([x1, y1, x2, y2]) {
  return Math.sqrt((x2 - x1) * (y2 - y1));
}
