// Boxes, labels and maps, drawn over the photo or video on the page and into the PNG alike.

/** Okabe and Ito's colours, as in the pictures of `apvit recognize --annotate`; null is an expression left open. */
export const COLOURS = {
  neutral: "#bbbbbb",
  happiness: "#e69f00",
  sadness: "#0072b2",
  surprise: "#56b4e9",
  fear: "#cc79a7",
  disgust: "#009e73",
  anger: "#d55e00",
  contempt: "#f0e442",
  other: "#ffffff",
  null: "#ffffff",
};
const GROUND = "#16161a";

/** The colour of text that can be read on one of these. */
export function inkOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue < 120 ? "#ffffff" : GROUND;
}

/** A share as it is read: 100 % only where nothing is left. */
export function percent(share) {
  return share > 0.995 && share < 1 ? ">99 %" : `${Math.round(100 * share)} %`;
}

/**
 * Draw faces: `scale` is canvas pixels per pixel of the photo, `text` the size of labels in canvas pixels. A face has the
 * number of its track, or of its place where it has none.
 */
export function draw(context, faces, { scale, text, layer, chosen }) {
  for (const face of faces) {
    if (layer !== "none" && face.explanation) drawMap(context, face.explanation, layer, scale);
  }
  faces.forEach((face, i) => drawBox(context, face, i, scale, text, i === chosen && faces.length > 1));
}

function drawMap(context, { grid, corners, kept, relevance }, layer, scale) {
  if (!corners) return;
  const map = new ImageData(grid, grid);
  const values = layer === "kept" ? kept : Object.values(relevance)[0];
  const most = Math.max(...values.flat()) || 1;
  values.flat().forEach((value, i) => {
    map.data.set(layer === "kept" ? (value ? [0, 0, 0, 0] : [12, 12, 16, 205]) : heat(value / most), 4 * i);
  });
  const small = document.createElement("canvas");
  small.width = small.height = grid;
  small.getContext("2d").putImageData(map, 0, 0);
  // Patches are equal squares of an aligned face, and alignment only turns, scales and shifts.
  const [[x, y], [right, down]] = [corners[0][0], corners[0][grid]];
  const [left, low] = corners[grid][0];
  context.save();
  context.transform(
    (scale * (right - x)) / grid, (scale * (down - y)) / grid,
    (scale * (left - x)) / grid, (scale * (low - y)) / grid,
    scale * x, scale * y,
  );
  context.imageSmoothingEnabled = layer === "relevance";
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0);
  context.restore();
}

/** From a shade over what did not matter to a glow over what did. */
function heat(value) {
  const v = Math.sqrt(value);
  return [12 + 243 * v, 12 + 178 * v, 16 + 14 * v, 150 + 30 * v];
}

function drawBox(context, face, i, scale, text, strong) {
  const [x1, y1, x2, y2] = face.box.map((value) => value * scale);
  const colour = COLOURS[face.expression];
  const width = Math.max(2, text / (strong ? 3.5 : 6));
  context.lineJoin = "round";
  for (const [style, line] of [[GROUND, width + 2], [colour, width]]) {
    context.strokeStyle = style;
    context.lineWidth = line;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  context.font = `600 ${text}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const title = `${face.track ?? i + 1}  ${face.expression ?? "open"}  ${percent(face.probability)}`;
  const wide = context.measureText(title).width + 1.4 * text;
  const high = 1.7 * text;
  const left = Math.max(0, Math.min(x1 - width / 2, context.canvas.width - wide));
  const top = y1 - high >= 0 ? y1 - high : Math.min(y2, context.canvas.height - high);
  context.fillStyle = GROUND;
  context.fillRect(left, top, wide, high);
  context.fillStyle = colour;
  context.fillRect(left, top, 0.3 * text, high);
  context.fillStyle = "#fff";
  context.fillText(title, left + 0.85 * text, top + high / 2);
}
