// The first view: one picture, some texts, the probability of each, and the patch of each word.

import { decodePicture } from "./picture.js";
import { createWordMap } from "./wordmap.js";

const find = (id) => document.getElementById(id);
const FIRST_TEXTS = ["a photo of a cat", "a photo of a dog", "a photo of a person"];
const SHOWN_TEXTS = 4; // of the sample pictures' captions, as first suggestions
const PAUSE = 150; // milliseconds without a key before texts are read again

export function createNaming(model, samples, showProblem) {
  const wordMap = createWordMap(model);
  let picture = null; // what the model made of the picture
  let selected = null; // the row whose words are matched; null: the most probable one's
  let edited = false; // suggestions stop as soon as the texts are the user's own
  let round = 0; // results of an earlier round are dropped
  let pictureRound = 0; // and pictures that were overtaken by a later choice

  const rows = () => [...find("texts").children];
  const textOf = (row) => row.querySelector("textarea").value.trim();

  function addRow(text = "") {
    const row = document.createElement("li");
    row.innerHTML = `<textarea rows="1" aria-label="Text" spellcheck="false"></textarea>
      <output></output><button class="remove" type="button" aria-label="Remove this text">×</button><div class="bar"></div>`;
    const input = row.querySelector("textarea");
    input.value = text;
    let timer;
    input.addEventListener("input", () => {
      edited = true;
      clearTimeout(timer);
      timer = setTimeout(update, PAUSE);
    });
    input.addEventListener("focus", () => {
      selected = row;
      update();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault();
        addRow().focus();
      } else if (event.key === "Backspace" && !input.value && rows().length > 1) {
        event.preventDefault();
        removeRow(row);
      }
    });
    row.querySelector("button").addEventListener("click", () => removeRow(row));
    find("texts").append(row);
    return input;
  }

  function removeRow(row) {
    edited = true;
    if (selected === row) selected = null;
    const neighbour = row.previousElementSibling ?? row.nextElementSibling;
    row.remove();
    (neighbour ?? addRow().closest("li")).querySelector("textarea").focus();
    update();
  }

  function setTexts(texts) {
    find("texts").replaceChildren();
    selected = null;
    texts.forEach((text) => addRow(text));
  }

  async function showPicture(blob, address, name) {
    const mine = ++pictureRound;
    showProblem(null);
    let encoded;
    try {
      encoded = await model.encodeImage(await decodePicture(blob));
    } catch (error) {
      showProblem(error);
      return;
    }
    if (mine !== pictureRound) return;
    picture = encoded;
    find("shown").src = address;
    find("shown").alt = name;
    find("shown").hidden = false;
    find("frame").classList.add("filled");
    await update();
  }

  async function showSample(sample) {
    if (!edited && sample.caption) setTexts(suggestions(samples, sample));
    for (const button of find("samples").children) button.ariaPressed = String(button.title === sample.name);
    const response = await fetch(sample.address);
    await showPicture(await response.blob(), sample.address, sample.caption ?? sample.name);
  }

  async function update() {
    const mine = ++round;
    const filled = rows().filter(textOf);
    let encoded;
    try {
      encoded = await Promise.all(filled.map((row) => model.encodeText(textOf(row))));
    } catch (error) {
      showProblem(error);
      return;
    }
    if (mine !== round) return;
    const shares = picture ? model.probabilities(picture.features, encoded.map((text) => text.features)) : [];
    const best = filled[shares.indexOf(Math.max(...shares))];
    const chosen = filled.includes(selected) ? selected : best;
    for (const row of rows()) {
      const share = shares[filled.indexOf(row)];
      row.classList.toggle("best", row === best);
      row.classList.toggle("chosen", row === chosen && model.hasTokens);
      row.style.setProperty("--share", share ?? 0);
      row.querySelector("output").textContent = share === undefined ? "" : `${(100 * share).toFixed(1)} %`;
      if (share === undefined) delete row.dataset.probability;
      else row.dataset.probability = share;
    }
    wordMap.show(picture, encoded[filled.indexOf(chosen)]);
  }

  find("add").addEventListener("click", () => addRow().focus());
  find("file").addEventListener("change", ({ target }) => {
    if (target.files.length) addFiles([...target.files]);
    target.value = ""; // the same file can be chosen again
  });
  find("samples").append(...samples.map((sample) => sampleButton(sample, () => showSample(sample))));
  find("samples").hidden = !samples.length;
  setTexts(FIRST_TEXTS);

  function addFiles([file]) {
    for (const button of find("samples").children) button.ariaPressed = "false";
    return showPicture(file, URL.createObjectURL(file), file.name);
  }

  return {
    addFiles,
    open() {
      if (!picture && samples.length) showSample(samples[0]);
    },
  };
}

// The picture's caption among those of other samples, spread over the set.
function suggestions(samples, sample) {
  const others = samples.map(({ caption }) => caption).filter((caption) => caption && caption !== sample.caption);
  const step = Math.max(1, Math.floor(others.length / (SHOWN_TEXTS - 1)));
  const start = samples.indexOf(sample) % step;
  const texts = others.filter((_, index) => index % step === start).slice(0, SHOWN_TEXTS - 1);
  texts.splice(samples.indexOf(sample) % SHOWN_TEXTS, 0, sample.caption);
  return texts;
}

function sampleButton({ address, name, caption }, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = name;
  button.ariaPressed = "false";
  const thumbnail = new Image();
  [thumbnail.src, thumbnail.alt, thumbnail.loading] = [address, caption ?? name, "lazy"];
  button.append(thumbnail);
  button.addEventListener("click", onClick);
  return button;
}
