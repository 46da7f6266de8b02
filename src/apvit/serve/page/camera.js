// A picture from the camera.

const booth = document.getElementById("booth");
const view = document.getElementById("view");

/** Show what the camera sees until a picture is taken; it, or null where the person thinks better of it. */
export async function takePicture() {
  if (!navigator.mediaDevices) throw new Error("The camera needs https, or a page on 127.0.0.1.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch (error) {
    throw new Error(`The camera cannot be used: ${error.message}.`);
  }
  view.srcObject = stream;
  booth.returnValue = "";
  booth.showModal();
  await new Promise((resolve) => booth.addEventListener("close", resolve, { once: true }));
  const taken = booth.returnValue === "taken" ? await frame() : null;
  stream.getTracks().forEach((track) => track.stop());
  view.srcObject = null;
  return taken;
}

async function frame() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
  canvas.getContext("2d").drawImage(view, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([blob], "camera.jpg", { type: blob.type });
}

document.getElementById("take").addEventListener("click", () => {
  if (view.videoWidth) booth.close("taken");
});
document.getElementById("close").addEventListener("click", () => booth.close(""));
