// The result as a file, made in the browser.

import { draw } from "./drawing.js";

/** Save `result` as "json", "csv" or "png"; the PNG is `photo` in full size, with what is drawn on it. */
export async function save(form, result, photo, view) {
  const blob = form === "png" ? await toPng(result, photo, view) : new Blob([TEXTS[form](result)], { type: TYPES[form] });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${result.source.replace(/\.\w+$/, "")}-expressions.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const TYPES = { json: "application/json", csv: "text/csv" };
const TEXTS = { json: (result) => `${JSON.stringify(result, null, 1)}\n`, csv: toCsv };

const POINTS = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"];

/** The columns and rows of `apvit recognize --format csv`. */
function toCsv({ source, width, height, faces }) {
  const expressions = Object.keys(faces[0].probabilities);
  const head = [
    "source", "face", "width", "height", "x1", "y1", "x2", "y2", ...POINTS.flatMap((name) => [`${name}_x`, `${name}_y`]),
    "detection_score", "expression", "probability", ...expressions.map((name) => `p_${name}`), "error",
  ];
  const rows = faces.map((face, i) => [
    source, i + 1, width, height, ...face.box, ...(face.landmarks?.flat() ?? Array(2 * POINTS.length)),
    face.detection_score, face.expression, face.probability, ...expressions.map((name) => face.probabilities[name]), null,
  ]);
  return [head, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function toPng(result, photo, view) {
  const canvas = document.createElement("canvas");
  canvas.width = result.width;
  canvas.height = result.height;
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  draw(context, result.faces, { ...view, scale: 1, text: Math.max(12, Math.round(Math.max(canvas.width, canvas.height) / 45)) });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
