// Results as files, made in the browser.

import { draw } from "./drawing.js";

/** Let the person save `blob` under the name of its `source`. */
export function offer({ source, blob }, form) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${source.replace(/\.\w+$/, "")}-expressions.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function toJson(result) {
  return new Blob([`${JSON.stringify(result, null, 1)}\n`], { type: "application/json" });
}

/** A table with these columns; what a row (an object) does not have is left empty. */
export function toCsv(columns, rows) {
  const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
  return new Blob(lines.map((line) => `${line.map(cell).join(",")}\n`), { type: "text/csv" });
}

const POINTS = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"];

/** The columns of a face, as in the tables of `apvit recognize`. */
export function faceColumns({ probabilities }) {
  const points = POINTS.flatMap((name) => [`${name}_x`, `${name}_y`]);
  const expressions = Object.keys(probabilities).map((name) => `p_${name}`);
  return ["x1", "y1", "x2", "y2", ...points, "detection_score", "expression", "probability", ...expressions];
}

/** What stands in them. */
export function faceRow(face) {
  const { box, landmarks, detection_score, expression, probability, probabilities } = face;
  const places = [...box, ...(landmarks?.flat() ?? Array(2 * POINTS.length))];
  const values = [...places, detection_score, expression, probability, ...Object.values(probabilities)];
  return Object.fromEntries(faceColumns(face).map((name, i) => [name, values[i]]));
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A picture (or what a video shows) in full size, with what is drawn on it. */
export function toPng({ width, height, faces }, picture, view) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  draw(context, faces, { ...view, scale: 1, text: Math.max(12, Math.round(Math.max(width, height) / 45)) });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
