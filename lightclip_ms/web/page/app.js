// Starts the page: loads the model and the sample pictures, and gives pasted and dropped pictures to the open view.

import { createGallery } from "./gallery.js";
import { loadModel } from "./model.js";
import { createNaming } from "./naming.js";

const find = (id) => document.getElementById(id);
const VIEWS = ["name", "search"];

for (const name of ["dragover", "drop"]) addEventListener(name, keepPage);
start().catch(showProblem);

async function start() {
  const model = await loadModel("model/", (share) => (find("progress").value = share));
  const response = await fetch("pictures.json");
  const samples = response.ok ? await response.json() : [];
  find("about").textContent = describe(model.manifest);
  const views = { name: createNaming(model, samples, showProblem), search: createGallery(model, samples, showProblem) };
  document.body.removeAttribute("data-loading");
  const current = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : VIEWS[0]);

  function showView() {
    showProblem(null);
    for (const name of VIEWS) {
      find(name).hidden = name !== current();
      document.querySelector(`nav a[href="#${name}"]`).ariaCurrent = name === current() ? "page" : null;
    }
    views[current()].open();
    scrollTo(0, 0); // the browser has just jumped to the section
  }

  function take(event, data) {
    const files = [...data.files];
    if (!files.length) return;
    event.preventDefault();
    views[current()].addFiles(files);
  }

  addEventListener("hashchange", showView);
  addEventListener("paste", (event) => take(event, event.clipboardData));
  addEventListener("drop", (event) => {
    document.body.classList.remove("dragging");
    take(event, event.dataTransfer);
  });
  addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
  showView();
}

// A dropped file would otherwise replace the page, also while the model is still loading.
function keepPage(event) {
  if (event.dataTransfer.types.includes("Files")) event.preventDefault();
}

// Show what went wrong in one line, or nothing again with null.
function showProblem(error) {
  find("problem").hidden = error === null;
  find("problem").textContent = error === null ? "" : error.message;
  if (error !== null) find("loading").hidden = true;
}

function describe({ name, image_encoder: encoder, onnx, files, preprocessing: { size } }) {
  const parts = ["image", "text"].map((tower) => {
    const { default: precision, files: byPrecision } = onnx[tower];
    return `${tower} tower ${(files[byPrecision[precision]].bytes / 1e6).toFixed(1)} MB (${precision})`;
  });
  return `${name} · ${encoder} at ${size} pixels · ${parts.join(" · ")}`;
}
