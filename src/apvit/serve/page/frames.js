// Frames of a video, which the browser decodes.

import { isCut, sceneOf } from "./cuts.js";

/** Pixels of the longer side of a frame that is sent: in larger ones a search takes longer and finds little more. */
const LONGEST = 960;
const QUALITY = 0.9;
/** Seconds that a seek may take; a decoder that is lost says nothing. */
const PATIENCE = 20;
/** Seconds after a seek in which the frame is there; not every browser says when. */
const GRACE = 0.1;
/** Seconds into a frame that are gone to: at its very start, rounding could give the one before. */
const INSIDE = 0.001;

/** Whether a file is opened as a video. Systems do not know the type of every one. */
export function isVideo({ type, name }) {
  return type ? /^(video|audio)\//.test(type) : /\.(avi|m4v|mkv|mov|mp4|mpe?g|ogv|webm|wmv)$/i.test(name);
}

/** Load the video at `url` into an element, until its first frame is there and its duration known. */
export async function load(video, url, name, signal) {
  video.src = url;
  try {
    await happened(video, "loadeddata", signal);
    if (video.duration === Infinity) {
      // What a browser has recorded itself does not say how long it is, until somebody goes to its end.
      await seek(video, Number.MAX_SAFE_INTEGER, signal);
      await seek(video, 0, signal);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error(`The browser cannot decode '${name}'; try MP4 (H.264) or WebM.`);
  }
  if (!video.videoWidth) throw new Error(`'${name}' has no picture track that the browser can decode.`);
}

/**
 * A frame every so many seconds from `from` on, as a JPEG file of at most `pixels`. `cut`: another scene than before.
 *
 * The video is decoded a second time, so that meanwhile it can be watched.
 */
export async function* framesOf(url, name, { from, every, pixels }, signal) {
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, preload: "auto" });
  try {
    await load(video, url, name, signal);
    const { videoWidth: width, videoHeight: height, duration } = video;
    const scale = Math.min(1, LONGEST / Math.max(width, height), Math.sqrt(pixels / (width * height)));
    const canvas = new OffscreenCanvas(Math.max(1, Math.floor(scale * width)), Math.max(1, Math.floor(scale * height)));
    const context = canvas.getContext("2d");
    let before = null;
    for (let time = from; time < duration; time = rounded(time + every)) {
      await show(video, time, signal).catch((error) => {
        throw signal.aborted ? error : new Error(`The browser cannot decode '${name}' at ${time} s and beyond.`);
      });
      context.drawImage(video, 0, 0, canvas.width, canvas.height);
      const scene = sceneOf(canvas);
      const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
      const picture = new File([blob], `frame at ${time} s`, { type: blob.type });
      yield { time, width, height, picture, cut: before !== null && isCut(before, scene) };
      before = scene;
    }
  } finally {
    video.removeAttribute("src");
    video.load(); // which lets go of the file
  }
}

/** Times are sums of tenths, which floating point does not have. */
export function rounded(seconds) {
  return Math.round(1000 * seconds) / 1000;
}

/** Go to the frame at `time` and wait until it can be drawn: when a seek is over, that may still be the one before. */
async function show(video, time, signal) {
  const drawn = new Promise((resolve) => video.requestVideoFrameCallback?.(resolve));
  await seek(video, time + INSIDE, signal);
  if (document.hidden) {
    // In a tab that nobody sees browsers tell of no frame and let timers wait; a second seek ends after the first's.
    await seek(video, time + INSIDE, signal);
  } else {
    await Promise.race([drawn, new Promise((resolve) => setTimeout(resolve, 1000 * GRACE))]);
  }
}

function seek(video, time, signal) {
  const there = happened(video, "seeked", signal);
  video.currentTime = time;
  return there;
}

/** Wait for an event. Throws where the video's data end in an error, and where it takes too long. */
function happened(video, event, signal) {
  const over = AbortSignal.any([signal, AbortSignal.timeout(1000 * PATIENCE)]);
  return new Promise((resolve, reject) => {
    const heard = new AbortController();
    const settle = (how) => () => (heard.abort(), how());
    over.addEventListener("abort", settle(() => reject(over.reason)), { signal: heard.signal });
    video.addEventListener(event, settle(resolve), { signal: heard.signal });
    video.addEventListener("error", settle(() => reject(video.error)), { signal: heard.signal });
    if (over.aborted) settle(() => reject(over.reason))();
  });
}
