// What a video shows at a moment, where only some of its frames were looked at.

/** The frame that stands at `time`, and its faces, moved on towards where the next frame has them; null: none stands. */
export function momentAt(frames, time, every) {
  const i = frames.findLastIndex((frame) => frame.time <= time);
  if (i < 0 || time > frames[i].time + every) return null;
  const [frame, next] = [frames[i], frames[i + 1]];
  const way = next ? (time - frame.time) / (next.time - frame.time) : 0;
  const faces = frame.faces.map((face) => {
    const goal = next?.faces.find(({ track }) => track === face.track);
    return goal ? { ...face, box: face.box.map((value, side) => value + way * (goal.box[side] - value)) } : face;
  });
  return { frame, faces };
}
