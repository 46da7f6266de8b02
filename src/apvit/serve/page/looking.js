// Looking through a video: its frames go to the service, and come back with faces.

import { recognize } from "./api.js";

/** Frames of a request, where the service takes as many: what is being looked at is soon on the timeline. */
const TOGETHER = 8;
/** The form around a picture, in bytes at most. */
const FORM = 2000;
/** Times that a busy service is asked the same. */
const TIMES = 5;

/**
 * Send all `frames` within the `limits` of the service, and call `looked(frames, results)` when some are answered.
 *
 * One request is under way at a time, while the browser decodes the frames of the next one. `busy(seconds)` is called
 * where the service asks to come again later.
 */
export async function lookAt(frames, limits, signal, { looked, busy }) {
  let waiting = [];
  let isAsking = false;
  let asked = Promise.resolve();
  const send = async () => {
    const sent = waiting;
    [waiting, isAsking] = [[], true];
    try {
      looked(sent, await answered(sent, limits, signal, busy));
    } finally {
      isAsking = false;
    }
  };
  let broken = null;
  try {
    for await (const frame of frames) {
      if (waiting.length && !(isAsking && fits([...waiting, frame], limits))) {
        await asked;
        asked = send();
        asked.catch(() => {}); // it is thrown when it is awaited
      }
      waiting.push(frame);
    }
  } catch (error) {
    broken = error; // what was decoded before is good
  }
  await asked;
  signal.throwIfAborted();
  if (waiting.length) await send();
  if (broken) throw broken;
}

function fits(frames, { pictures, body_bytes }) {
  const bytes = frames.reduce((sum, { picture }) => sum + picture.size + FORM, 0);
  return frames.length <= Math.min(pictures, TOGETHER) && bytes <= body_bytes;
}

async function answered(frames, limits, signal, busy) {
  for (let time = 1; ; time++) {
    try {
      // Of more faces than the service allows, the largest.
      const options = { max_faces: limits.faces };
      return (await recognize(frames.map(({ picture }) => picture), options, signal)).results;
    } catch (error) {
      if (!error.retryAfter || time === TIMES) throw error;
      busy(error.retryAfter);
      await pause(error.retryAfter, signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const over = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => (clearTimeout(over), reject(signal.reason)), { once: true });
  });
}
