// The service, as the page asks it.

/** Why there is no answer: the sentence of a problem (RFC 9457), and in how many seconds to come again (0: never). */
export class ProblemError extends Error {
  constructor(status, sentence, retryAfter = 0) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
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

/** The faces of each of the pictures; `options` are those of the service, such as `keep`. */
export function recognize(pictures, options, signal) {
  return post("/v1/recognize", pictures, options, signal);
}

/** The same with maps over the patches. */
export function explain(pictures, options, signal) {
  return post("/v1/explain", pictures, options, signal);
}

function post(path, pictures, options, signal) {
  const body = new FormData();
  for (const picture of pictures) body.append("picture", picture, picture.name);
  const query = new URLSearchParams(options).toString();
  return ask(query ? `${path}?${query}` : path, { method: "POST", body, signal });
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
  const retryAfter = Number(answer.headers.get("Retry-After"));
  throw new ProblemError(answer.status, body?.detail ?? `The service answered ${answer.status}.`, retryAfter);
}
