// An exported folder as two functions, encodeImage and encodeText, on onnxruntime-web. The layout is docs/deploy.md's.

import { resizeAndCrop, toInput } from "./picture.js";
import { createTokenizer } from "./tokenizer.js";

const FORMAT = "lightclip_ms export";
const RUNTIME = "runtime/ort.wasm.min.mjs";
const EXPORT_AGAIN = "export it again with scripts/export.py";

/**
 * Load the exported folder at `base`, for example "model/". `onProgress` is given a share of 1 as it loads.
 *
 * Raises an Error that says which file is missing, changed or not understood, and what to do.
 */
export async function loadModel(base, onProgress) {
  const ort = await loadRuntime();
  const manifest = JSON.parse(new TextDecoder().decode(await download(base + "manifest.json")));
  if (manifest.format !== FORMAT || manifest.version !== 1) {
    throw new Error(`The model is not an export that this page reads (${FORMAT}, version 1); ${EXPORT_AGAIN}.`);
  }
  const towerFile = (tower) => manifest.onnx[tower].files[manifest.onnx[tower].default];
  const names = [manifest.tokenizer.merges, towerFile("image"), towerFile("text")];
  const whole = names.reduce((sum, name) => sum + manifest.files[name].bytes, 0);
  let arrived = 0;
  const contents = [];
  for (const name of names) {
    contents.push(await downloadChecked(base, name, manifest.files[name], (bytes) => onProgress((arrived += bytes) / whole)));
  }
  const merges = new TextDecoder().decode(contents[0]);
  const tokenizer = createTokenizer(merges, manifest.tokenizer.vocab_size, manifest.tokenizer.context_length);
  const image = await openTower(ort, contents[1], names[1], manifest.onnx.opset);
  const text = await openTower(ort, contents[2], names[2], manifest.onnx.opset);
  return new Model(ort, manifest, tokenizer, image, text);
}

class Model {
  constructor(ort, manifest, tokenizer, image, text) {
    Object.assign(this, { ort, manifest, tokenizer, image, text });
    this.queue = Promise.resolve(); // a session takes one call at a time
    this.texts = new Map(); // embeddings of texts that were asked for before
  }

  /** Whether the towers also give tokens, so that words can be matched to patches. */
  get hasTokens() {
    return ["image", "text"].every((tower) => this.manifest.onnx[tower].outputs.includes("tokens"));
  }

  /** ImageData of any size to {features, a unit vector; tokens, one unit vector per patch}. */
  async encodeImage(picture) {
    const { preprocessing } = this.manifest;
    const input = toInput(resizeAndCrop(picture, preprocessing), preprocessing);
    const side = preprocessing.size;
    return this.#run("image", new this.ort.Tensor("float32", input, [1, 3, side, side]));
  }

  /** A text to {features; tokens, one unit vector per word; words, what each of them reads}. */
  async encodeText(text) {
    if (!this.texts.has(text)) this.texts.set(text, this.#encodeText(text));
    return this.texts.get(text);
  }

  /** Probability of each text's features for a picture's features: the softmax of scaled cosines. */
  probabilities(imageFeatures, textFeatures) {
    const logits = textFeatures.map((features) => this.manifest.scale * dot(imageFeatures, features));
    const largest = Math.max(...logits);
    const weights = logits.map((logit) => Math.exp(logit - largest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  }

  async #encodeText(text) {
    const ids = this.tokenizer.encode(text);
    // The runtime's worker takes its inputs away: it gets a copy.
    const encoded = await this.#run("text", new this.ort.Tensor("int32", ids.slice(), [1, ids.length]));
    const end = ids.indexOf(this.manifest.tokenizer.eot_id);
    return {
      features: encoded.features,
      tokens: encoded.tokens?.slice(1, end),
      words: Array.from(ids.slice(1, end), (id) => this.tokenizer.decode(id)),
    };
  }

  async #run(tower, input) {
    const { input: name } = this.manifest.onnx[tower];
    const turn = this.queue.then(() => this[tower].run({ [name]: input }));
    this.queue = turn.catch(() => {});
    const { features, tokens } = await turn;
    return { features: unit(features.data), tokens: tokens && rows(tokens).map(unit) };
  }
}

/** The inner product of two vectors. */
export function dot(left, right) {
  let sum = 0;
  for (let i = 0; i < left.length; i++) sum += left[i] * right[i];
  return sum;
}

function unit(vector) {
  const scale = 1 / Math.max(Math.sqrt(dot(vector, vector)), 1e-12);
  return Float64Array.from(vector, (value) => value * scale);
}

// Rows of the only item of a [1, rows, width] tensor.
function rows({ data, dims: [, count, width] }) {
  return Array.from({ length: count }, (_, row) => data.subarray(row * width, (row + 1) * width));
}

async function loadRuntime() {
  const address = new URL(RUNTIME, document.baseURI);
  try {
    const ort = await import(address);
    ort.env.wasm.wasmPaths = new URL(".", address).href;
    ort.env.wasm.proxy = true; // in a worker of its own, so that the page stays responsive
    return ort;
  } catch {
    throw new Error("onnxruntime-web is not beside the model; start scripts/serve_demo.py with --fetch-runtime.");
  }
}

async function openTower(ort, content, name, opset) {
  try {
    return await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
  } catch (error) {
    const reason = String(error.message ?? error).split("\n")[0];
    throw new Error(`${name} (opset ${opset}) was refused by onnxruntime-web: ${reason}. If it is damaged, ${EXPORT_AGAIN}.`);
  }
}

async function downloadChecked(base, name, { bytes, sha256 }, onBytes) {
  const content = await download(base + name, onBytes);
  if (content.length !== bytes) throw new Error(`${name} has ${content.length} bytes instead of ${bytes}; ${EXPORT_AGAIN}.`);
  if (crypto.subtle) {
    // Browsers offer digests to secure pages only: those from this computer or over https.
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== sha256) throw new Error(`${name} is not the file that was exported; ${EXPORT_AGAIN}.`);
  }
  return content;
}

async function download(address, onBytes = () => {}) {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new Error(`${address} could not be loaded: is scripts/serve_demo.py still running?`);
  }
  if (!response.ok) throw new Error(`${address} is missing from the exported folder; ${EXPORT_AGAIN}.`);
  const parts = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onBytes(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
