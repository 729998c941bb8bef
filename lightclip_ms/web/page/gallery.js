// The second view: pictures in the order in which they fit a text.

import { dot } from "./model.js";
import { decodePicture } from "./picture.js";

const find = (id) => document.getElementById(id);
const PAUSE = 150; // milliseconds without a key before the query is read again

export function createGallery(model, samples, showProblem) {
  const entries = []; // {item, features, number}
  const waiting = samples.map(({ address, name, caption }) => ({ address, name: caption ?? name }));
  let working = false;
  let unreadable = 0;
  let round = 0; // the order of an earlier query is dropped

  function sayCount() {
    const parts = [entries.length === 1 ? "1 picture" : `${entries.length} pictures`];
    if (waiting.length) parts.push(`${waiting.length} still to be read`);
    if (unreadable) parts.push(`${unreadable} could not be read`);
    const empty = !entries.length && !waiting.length;
    find("count").textContent = empty ? "Add some pictures: drop, paste or choose them." : parts.join(", ");
  }

  // Encode what waits, one picture after the other, showing each as it is done.
  async function work() {
    if (working) return;
    working = true;
    while (waiting.length) {
      const { address, name, blob } = waiting.shift();
      try {
        const picture = await decodePicture(blob ?? (await (await fetch(address)).blob()));
        const { features } = await model.encodeImage(picture);
        entries.push({ item: addItem(address, name), features, number: entries.length });
      } catch (error) {
        unreadable++;
        showProblem(error);
      }
      sayCount();
      if (find("query").value.trim()) await rank();
    }
    working = false;
  }

  function addItem(address, name) {
    const item = document.createElement("li");
    const image = new Image();
    [image.src, image.alt] = [address, name];
    item.append(image, document.createElement("output"));
    item.title = name;
    find("gallery").append(item);
    return item;
  }

  async function rank() {
    const mine = ++round;
    const query = find("query").value.trim();
    let text = null;
    try {
      text = query && (await model.encodeText(query));
    } catch (error) {
      showProblem(error);
    }
    if (mine !== round) return;
    for (const entry of entries) entry.cosine = text ? dot(entry.features, text.features) : 0;
    // Without a query, the order in which they came.
    const ordered = [...entries].sort((a, b) => b.cosine - a.cosine || a.number - b.number);
    for (const { item, cosine } of ordered) item.querySelector("output").textContent = text ? cosine.toFixed(3) : "";
    reorder(ordered.map(({ item }) => item), Boolean(text));
  }

  function reorder(items, ranked) {
    const gallery = find("gallery");
    gallery.classList.toggle("ranked", ranked);
    if (items.every((item, place) => gallery.children[place] === item)) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still || working || !document.startViewTransition) gallery.replaceChildren(...items);
    else document.startViewTransition(() => gallery.replaceChildren(...items));
  }

  const example = samples.find(({ caption }) => caption);
  if (example) find("query").placeholder = `Describe what to look for, such as “${example.caption}”`;
  let timer;
  find("query").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(rank, PAUSE);
  });
  find("query").form.addEventListener("submit", (event) => {
    event.preventDefault();
    rank();
  });
  find("files").addEventListener("change", ({ target }) => {
    addFiles([...target.files]);
    target.value = "";
  });

  function addFiles(files) {
    showProblem(null);
    for (const file of files) waiting.push({ blob: file, address: URL.createObjectURL(file), name: file.name });
    return work();
  }

  return {
    addFiles,
    open() {
      sayCount();
      work();
      find("query").focus();
    },
  };
}
