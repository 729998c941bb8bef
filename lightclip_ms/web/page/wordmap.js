// Which patch of the picture each word of a text matches, drawn over the picture and listed as words.

import { assign } from "./matching.js";
import { dot } from "./model.js";

const find = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const EDGE = 0.05; // of an outline, in patches
const ROOM = 7; // letters that fit into a patch as they are
const GOLDEN_ANGLE = 137.508; // degrees of hue between two words, so that neighbours differ

export function createWordMap(model) {
  const [rows, columns] = model.manifest.grid;
  let shown = []; // a picture and a text that are still the same keep their words, and the word its focus

  /** Show the matching of a picture and a text as the model encoded them; nothing if either is missing. */
  function show(picture, text) {
    if (shown[0] === picture && shown[1] === text) return;
    shown = [picture, text];
    const possible = Boolean(picture?.tokens && text?.tokens.length);
    find("matching").hidden = !possible;
    find("patches").toggleAttribute("hidden", !possible);
    find("place").textContent = "";
    if (!possible) return;
    const cosines = text.tokens.map((word) => picture.tokens.map((patch) => dot(word, patch)));
    const patches = assign(cosines.map((row) => row.map((cosine) => 1 - cosine)));
    const words = text.words.map((word, index) => ({
      word,
      patch: patches[index],
      cosines: cosines[index],
      colour: `oklch(0.7 0.17 ${(25 + index * GOLDEN_ANGLE) % 360})`,
    }));
    find("patches").setAttribute("viewBox", `0 0 ${columns} ${rows}`);
    drawMarks(words);
    find("words").replaceChildren(...words.map((word) => wordButton(word, words)));
  }

  function drawMarks(words) {
    const marks = words.filter(({ patch }) => patch !== null).map((word) => outline(word));
    find("patches").replaceChildren(...marks);
  }

  function drawHeat(word) {
    const [low, high] = [Math.min(...word.cosines), Math.max(...word.cosines)];
    const heat = word.cosines.map((cosine, patch) => {
      const share = (cosine - low) / Math.max(high - low, 1e-9);
      return square(patch, { fill: "#000", "fill-opacity": 0.75 * (1 - share) });
    });
    find("patches").replaceChildren(...heat, ...(word.patch === null ? [] : [outline(word)]));
  }

  function square(patch, attributes) {
    const [row, column] = placeOf(patch);
    return create("rect", { x: column, y: row, width: 1, height: 1, ...attributes });
  }

  function outline({ word, patch, colour }) {
    const [row, column] = placeOf(patch);
    const inside = { x: column + EDGE / 2, y: row + EDGE / 2, width: 1 - EDGE, height: 1 - EDGE, rx: EDGE };
    const squeezed = word.length > ROOM ? { textLength: 1 - 4 * EDGE, lengthAdjust: "spacingAndGlyphs" } : {};
    const label = create("text", { x: column + 2 * EDGE, y: row + 0.22, ...squeezed });
    label.textContent = word;
    const mark = create("g", {});
    mark.append(create("rect", { ...inside, fill: "none", stroke: colour, "stroke-width": EDGE }), label);
    return mark;
  }

  function wordButton(word, words) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word.word;
    button.style.setProperty("--colour", word.colour);
    if (word.patch !== null) button.dataset.patch = word.patch;
    const enter = () => {
      drawHeat(word);
      find("place").textContent = place(word);
    };
    const leave = () => {
      drawMarks(words);
      find("place").textContent = "";
    };
    for (const name of ["pointerenter", "focus"]) button.addEventListener(name, enter);
    for (const name of ["pointerleave", "blur"]) button.addEventListener(name, leave);
    return button;
  }

  function place({ word, patch, cosines }) {
    if (patch === null) return `“${word}” has no patch: the text has more words than the picture has patches.`;
    const [row, column] = placeOf(patch);
    return `“${word}”: row ${row + 1}, column ${column + 1} of ${rows} × ${columns}, cosine ${cosines[patch].toFixed(2)}`;
  }

  function placeOf(patch) {
    return [Math.floor(patch / columns), patch % columns];
  }

  return { show };
}

function create(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
