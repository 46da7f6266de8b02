// What the page says of its work, aloud too: one sentence, or what went wrong.

import { ProblemError } from "./api.js";

const at = (id) => document.getElementById(id);

/** Say how it goes, in place of what was said before. Said again, it is not read out again. */
export function tell(sentence) {
  at("error").hidden = at("keyform").hidden = true;
  if (at("status").textContent !== sentence) at("status").textContent = sentence;
}

/** Say what went wrong, and ask for a key where the service wants one. */
export function fail(error) {
  at("status").textContent = "";
  at("error").textContent = error.message;
  at("error").hidden = false;
  if (error instanceof ProblemError && error.status === 401) {
    at("keyform").hidden = false;
    at("key").focus();
  }
}
