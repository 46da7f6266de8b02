// The service, as the page asks it.

/** Why there is no answer: the sentence of a problem (RFC 9457). */
export class ProblemError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

let key = "";

/** Send this API key from now on; it is in memory only. */
export function useKey(given) {
  key = given;
}

/** What the service runs, and its limits. */
export function models() {
  return ask("/v1/models");
}

/** The faces of a picture; `keep` is a count of patches above 1, or null for what the weights say. */
export function recognize(picture, keep, signal) {
  return post("/v1/recognize", picture, keep, signal);
}

/** The same with maps over the patches. */
export function explain(picture, keep, signal) {
  return post("/v1/explain", picture, keep, signal);
}

function post(path, picture, keep, signal) {
  const body = new FormData();
  body.append("picture", picture, picture.name);
  return ask(keep === null ? path : `${path}?keep=${keep}`, { method: "POST", body, signal });
}

async function ask(path, options = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError(0, "The service does not answer; is it still running?");
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return body;
  throw new ProblemError(answer.status, body?.detail ?? `The service answered ${answer.status}.`);
}
