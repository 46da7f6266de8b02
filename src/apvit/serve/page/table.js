// The shares of time as a table: what the timeline says to those who do not see it.

import { percent } from "./drawing.js";
import { make } from "./elements.js";
import { OPEN } from "./shares.js";

/** Fill `table` with a column per track, and a row per expression that any of them shows. */
export function showShares(table, tracks, expressions) {
  const names = [...expressions, OPEN].filter((name) => tracks.some(({ share }) => name in share));
  const head = rowOf("", tracks.map(({ track }) => `Face ${track}`), "th");
  head.firstChild.replaceWith(make("td"));
  const shares = names.map((name) => rowOf(name, tracks.map(({ share }) => percent(share[name] ?? 0))));
  const seen = rowOf("seen for", tracks.map(({ seconds }) => `${seconds.toFixed(1)} s`));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...shares, seen);
}

function rowOf(title, texts, tag = "td") {
  const row = make("tr");
  row.append(make("th", "", title), ...texts.map((text) => make(tag, "", text)));
  row.firstChild.scope = "row";
  return row;
}
