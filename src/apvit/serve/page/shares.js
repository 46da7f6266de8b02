// What was seen of each face: from when to when, and which share of that time with which expression.

/** What an expression is called that is left open. */
export const OPEN = "open";
/** Seconds that a face must be seen to be shown, as in `apvit recognize`. */
export const MIN_TRACK = 0.5;

/**
 * The tracks of `frames`, by number. A frame stands until the next one, the last for `every` seconds. Tracks shorter than
 * `MIN_TRACK` are left out, unless all that was looked at is shorter.
 *
 * Each has `looks` ({ start, end, face }), `start`, `end`, the `seconds` seen in between, `share` ({ expression: part of
 * these seconds }, largest first) and `main`, the first of them.
 */
export function tracksOf(frames, every, duration) {
  const tracks = new Map();
  frames.forEach(({ time, faces }, i) => {
    const end = Math.min(frames[i + 1]?.time ?? time + every, duration);
    for (const face of faces) {
      if (!tracks.has(face.track)) tracks.set(face.track, []);
      tracks.get(face.track).push({ start: time, end, face });
    }
  });
  const looked = frames.length ? Math.min(frames.at(-1).time + every, duration) - frames[0].time : 0;
  const least = Math.min(MIN_TRACK, looked) - 1e-6; // for rounding
  const sums = [...tracks].sort(([a], [b]) => a - b).map(([track, looks]) => summed(track, looks));
  return sums.filter(({ seconds }) => seconds >= least);
}

function summed(track, looks) {
  const times = {};
  for (const { start, end, face } of looks) {
    const name = face.expression ?? OPEN;
    times[name] = (times[name] ?? 0) + end - start;
  }
  const seconds = Object.values(times).reduce((sum, time) => sum + time);
  const shares = Object.entries(times).map(([name, time]) => [name, time / seconds]);
  shares.sort(([, a], [, b]) => b - a);
  const [{ start }, { end }] = [looks[0], looks.at(-1)];
  return { track, start, end, seconds, share: Object.fromEntries(shares), main: shares[0][0], looks };
}
