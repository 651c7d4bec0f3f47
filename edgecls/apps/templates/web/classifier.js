// The model behind one function: a picture's input in, the share of each class out.

import { Tensor, loadAndCompile, loadLiteRt, supportsFeature } from "@litertjs/core";

/** More threads than fast cores slow a phone down. */
const THREADS = 4;

let about, model;

/** Load the runtime and the model that `description`, model.json, is of. Resolves to the number of threads. */
export async function load(description) {
  // LiteRT.js throws where it asks for threads on a page that has none.
  const threaded = globalThis.crossOriginIsolated === true && (await supportsFeature("relaxedSimd"));
  const threads = threaded ? Math.min(THREADS, navigator.hardwareConcurrency) : 1;
  await loadLiteRt(new URL("litert/wasm/", document.baseURI).href, { threads: threaded });
  const response = await fetch("model.tflite");
  if (!response.ok) throw new Error(`model.tflite: HTTP ${response.status}`);
  const content = new Uint8Array(await response.arrayBuffer());
  if (content.length !== description.bytes) {
    throw new Error(`model.tflite has ${content.length} bytes, not ${description.bytes} as model.json says`);
  }
  model = await loadAndCompile(content, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
  about = description;
  const size = about.input.shape.reduce((product, length) => product * length, 1);
  await run(about.input.dtype === "uint8" ? new Uint8Array(size) : new Float32Array(size)); // the first is slow
  return threads;
}

/** Resolves to { outputs, ms }: a float32 for each class, and the time of the model alone. */
export async function run(input) {
  const tensor = new Tensor(input, about.input.shape);
  try {
    const start = performance.now();
    const [result] = await model.run([tensor]);
    const ms = performance.now() - start;
    const outputs = result.toTypedArray();
    result.delete();
    return { outputs: real(outputs, about.output), ms };
  } finally {
    tensor.delete();
  }
}

/** The best classes, [{ label, share }], the best first. */
export function best(outputs, count = 5) {
  const shares = about.output.probabilities ? outputs : softmax(outputs);
  return Array.from(shares, (share, k) => ({ label: about.labels[k], share }))
    .sort((one, other) => other.share - one.share)
    .slice(0, count);
}

/** What quantized outputs stand for. */
function real(outputs, { scale, zero_point: zero }) {
  return scale === null ? outputs : Float32Array.from(outputs, (value) => (value - zero) * Math.fround(scale));
}

function softmax(logits) {
  const largest = logits.reduce((one, other) => Math.max(one, other), -Infinity);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
