// The list of faces: what a screen reader reads, and what the bars show.

import { COLOURS, percent } from "./drawing.js";
import { make } from "./elements.js";

/** Fill `list` with a card per face, in place where the faces stay, so that bars move rather than jump. */
export function showFaces(list, faces, chosen) {
  while (list.children.length > faces.length) list.lastChild.remove();
  faces.forEach((face, i) => {
    const card = list.children[i] ?? list.appendChild(makeCard(Object.keys(face.probabilities)));
    fillCard(card, face, i);
    card.classList.toggle("chosen", i === chosen && faces.length > 1);
  });
}

/** The result in a sentence. */
export function sentence(faces) {
  if (!faces.length) return "No face was found. Try a larger or sharper photo.";
  const told = faces.slice(0, 5).map((face) => `${face.expression ?? "open"} ${percent(face.probability)}`).join(", ");
  const more = faces.length > 5 ? ", …" : "";
  return `${faces.length === 1 ? "One face" : `${faces.length} faces`}: ${told}${more}`;
}

function makeCard(expressions) {
  const card = make("article", "face");
  const title = card.appendChild(make("h2"));
  title.append(make("img"), make("span"));
  title.firstChild.alt = "";
  const bars = card.appendChild(make("dl", "bars"));
  for (const name of expressions) {
    const track = make("dd", "track");
    track.setAttribute("aria-hidden", "true");
    track.append(make("i"));
    track.firstChild.style.background = COLOURS[name];
    bars.append(make("dt", "", name), track, make("dd", "share"));
  }
  return card;
}

function fillCard(card, face, i) {
  const [image, title] = card.firstChild.children;
  const seen = face.explanation?.face ?? face.portrait;
  image.hidden = !seen;
  if (seen && image.src !== seen) image.src = seen;
  title.textContent = `${face.expression ?? "left open"} ${percent(face.probability)}`;
  title.append(make("small", "", `face ${face.track ?? i + 1}`));
  const cells = card.lastChild.children;
  Object.values(face.probabilities).forEach((share, row) => {
    const [name, track, number] = [0, 1, 2].map((column) => cells[3 * row + column]);
    track.firstChild.style.width = `${100 * share}%`;
    number.textContent = percent(share);
    const first = share === face.probability;
    name.classList.toggle("first", first);
    number.classList.toggle("first", first);
  });
}
