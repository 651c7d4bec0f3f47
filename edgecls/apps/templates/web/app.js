// The page: a picture from a file, a drop or the camera; the five best classes.

import { best, load, run } from "./classifier.js";
import { decode, input, pixels, seen } from "./picture.js";

const $ = (id) => document.getElementById(id);
const [stage, view, status, results] = ["stage", "view", "status", "results"].map($);
const [choose, camera, video] = ["file", "camera", "video"].map($);

let about, stream, ready = false;

/** One picture at a time: of those that come meanwhile only the last is looked at. */
let busy = false, next = null;

async function start() {
  $("unopened").remove();
  const response = await fetch("model.json");
  if (!response.ok) throw new Error(`model.json: HTTP ${response.status}`);
  about = await response.json();
  document.title = $("name").textContent = about.name;
  const size = `${(about.bytes / 1e6).toFixed(about.bytes < 1e6 ? 2 : 1)} MB`;
  $("facts").textContent = [about.precision, size, `${about.labels.length} classes`].join(" · ");
  for (const note of about.notes) $("notes").append(element("p", note));
  say("Loading the model …");
  let threads;
  try {
    threads = await load(about);
  } catch (error) {
    return fail(whyNot(error));
  }
  const runtime = `LiteRT.js ${about.litertjs}, ${threads === 1 ? "1 thread" : `${threads} threads`}.`;
  $("runtime").textContent = runtime + (about.licence ? ` Weights: ${about.licence}.` : "");
  if (!navigator.mediaDevices) {
    camera.disabled = true;
    $("hint").textContent = globalThis.isSecureContext
      ? "This browser gives no access to a camera."
      : "The camera needs a secure address: https, or localhost (adb reverse, see README.md).";
  }
  ready = true;
  stage.classList.remove("loading");
  say("Choose a picture.");
}

/** Look at a picture that a canvas can draw, and show the outcome. */
async function look(name, image, width, height) {
  const square = seen(width, height, about.preprocess);
  const began = performance.now();
  const values = input(pixels(image, width, height, about.preprocess), about.preprocess, about.input);
  const prepared = performance.now() - began;
  const { outputs, ms } = await run(values);
  show(image, square);
  list(best(outputs));
  $("times").textContent = `${ms.toFixed(1)} ms model + ${prepared.toFixed(1)} ms picture`;
  say(name);
}

async function open(file) {
  if (!ready || !file) return;
  if (busy) return void (next = file);
  stop();
  busy = true;
  try {
    const image = await decode(file);
    await look(file.name, image, image.width, image.height);
    image.close();
  } catch (error) {
    const unreadable = ["InvalidStateError", "EncodingError"].includes(error.name);
    fail(unreadable ? `${file.name} cannot be read as a picture.` : `${file.name}: ${error.message}`);
  } finally {
    busy = false;
  }
  if (next) {
    const waiting = next;
    next = null;
    await open(waiting);
  }
}

async function toggleCamera() {
  if (stream) return stop();
  if (!ready) return;
  camera.disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    return fail(CAMERA[error.name] ?? `The camera cannot be opened: ${error.message}`);
  } finally {
    camera.disabled = false;
  }
  camera.textContent = "Stop";
  camera.setAttribute("aria-pressed", "true");
  const mine = stream;
  mine.getVideoTracks()[0].onended = () => stream === mine && stop();
  video.srcObject = mine;
  try {
    await video.play();
    while (stream === mine) {
      await look("Camera", video, video.videoWidth, video.videoHeight);
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    if (stream !== mine) return; // stopped amid a picture
    stop();
    fail(`The camera stopped: ${error.message}`);
  }
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  camera.textContent = "Camera";
  camera.setAttribute("aria-pressed", "false");
}

/** Draw the square that the model sees. */
function show(image, { x, y, width, height }) {
  const context = view.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, view.width, view.height);
  context.drawImage(image, x, y, width, height, 0, 0, view.width, view.height);
  stage.classList.add("filled");
}

function list(classes) {
  results.replaceChildren(
    ...classes.map(({ label, share }) => {
      const item = document.createElement("li");
      const bar = element("div", "", "bar");
      bar.style.setProperty("--share", share);
      item.append(element("span", label, "label"), element("span", percent(share), "share"), bar);
      return item;
    }),
  );
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function element(kind, text, name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = name;
  return made;
}

function say(text) {
  status.classList.remove("wrong");
  status.textContent = text;
}

function fail(text) {
  say(text);
  status.classList.add("wrong");
}

/** Why the model is not there, in words. */
function whyNot(error) {
  if (typeof WebAssembly === "undefined") {
    return "This browser has no WebAssembly, or forbids it here (lockdown mode does); the model needs it.";
  }
  if (error instanceof WebAssembly.CompileError) {
    return "This browser's WebAssembly is too old for LiteRT.js; it needs SIMD (Chrome 91, Firefox 89, Safari 16.4).";
  }
  const reason = error instanceof Event ? "a file of litert/ is missing" : error.message || String(error);
  return `The model cannot be loaded: ${reason}`;
}

const CAMERA = {
  NotAllowedError: "The camera may not be used: allow it for this page in the browser's settings.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

choose.addEventListener("change", () => {
  open(choose.files[0]);
  choose.value = ""; // the same file may be chosen again
});
camera.addEventListener("click", toggleCamera);
addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("over");
});
for (const left of ["dragleave", "drop"]) addEventListener(left, () => stage.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});
addEventListener("visibilitychange", () => document.hidden && stop());

start().catch((error) => fail(`The page cannot start: ${error.message}`));
