// CLIP's byte-level BPE from the text of its merges file: the ids of lightclip_ms.Tokenizer, except for ftfy's repairs
// of text that was decoded in the wrong encoding.

const WORDS = /<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u0345]+/gu;
const SPACES = /\s+/g;
const COMPOSED = /[\u0132\u0133\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06\uff01-\uffef]/g; // ligatures and width variants
const INVISIBLE = /[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;
const WINDOWS = new TextDecoder("windows-1252"); // what C1 control characters in a text were meant to be
const [START, END] = ["<|startoftext|>", "<|endoftext|>"];
const WORD_END = "</w>";
const FIRST_MERGE = 512; // 256 bytes and 256 bytes that end a word come before the merges
const PAIR = 0x10000; // two ids below it make one key

function unescapeHtml(text) {
  const area = document.createElement("textarea");
  area.innerHTML = text.replaceAll("<", "&lt;"); // as text only: nothing in it becomes an element
  return area.value;
}

// ftfy's repairs of one line, until nothing changes any more.
function repairLine(text) {
  for (let before = null; before !== text; ) {
    before = text;
    if (!text.includes("<")) text = text.replace(/&#?[0-9A-Za-z]{1,24};/g, unescapeHtml);
    text = text.replace(/[\x80-\x9f]/g, (char) => WINDOWS.decode(Uint8Array.of(char.charCodeAt(0))));
    text = text.replace(COMPOSED, (char) => char.normalize("NFKC")).replaceAll("\u0149", "'n");
    text = text.replace(/[\u02bc\u2018-\u201b]/g, "'").replace(/[\u201c-\u201f]/g, '"');
    text = text.replace(/\x1b\[[\d;]*[a-zA-Z]/g, "").replace(INVISIBLE, "").normalize("NFC");
  }
  return text;
}

/** The text that is split into words: what ftfy, html.unescape and OpenAI's tokenizer do to it first. */
export function cleanText(text) {
  text = text.split("\n").map(repairLine).join("\n");
  if (text.includes("&")) text = unescapeHtml(unescapeHtml(text)).replace(INVISIBLE, "");
  return text.replace(SPACES, " ").trim().toLowerCase();
}

/**
 * CLIP's tokenizer for the text of a merges file: `encode` gives a text's ids from start to end, cut to `contextLength`
 * and without padding, as an Int32Array; `decode` gives the text of one id.
 */
export function createTokenizer(mergesText, vocabSize = 49408, contextLength = 77) {
  const printable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const allBytes = Array.from({ length: 256 }, (_, byte) => byte);
  const hidden = allBytes.filter((byte) => !printable(byte)); // they are written as U+0100 and what follows
  const ordered = [...allBytes.filter(printable), ...hidden];
  const idOfByte = new Int32Array(256);
  const byteOfChar = new Map();
  const pieces = [];
  ordered.forEach((byte, id) => {
    const char = String.fromCharCode(printable(byte) ? byte : 0x100 + hidden.indexOf(byte));
    idOfByte[byte] = id;
    byteOfChar.set(char, byte);
    [pieces[id], pieces[id + 256]] = [char, char + WORD_END];
  });
  const idOfPiece = new Map(pieces.map((piece, id) => [piece, id]));
  const merged = new Map(); // ids of two neighbours -> id of their merge; the smaller that id, the earlier it merges
  for (const line of mergesText.split("\n").filter(Boolean)) {
    const [left, right] = line.split(" ");
    merged.set(idOfPiece.get(left) * PAIR + idOfPiece.get(right), pieces.length);
    idOfPiece.set(left + right, pieces.length);
    pieces.push(left + right);
  }
  const [startId, endId] = [vocabSize - 2, vocabSize - 1];
  if (pieces.length !== startId) throw new Error(`The merges make ${pieces.length} ids, the model has ${startId}.`);
  pieces.push(START, END);

  function wordIds(word) {
    if (word === START) return [startId];
    if (word === END) return [endId];
    const ids = Array.from(new TextEncoder().encode(word), (byte) => idOfByte[byte]);
    ids[ids.length - 1] += 256;
    for (;;) {
      const found = ids.map((id, place) => merged.get(id * PAIR + ids[place + 1]) ?? Infinity);
      const best = Math.min(...found);
      if (best === Infinity) return ids;
      // All places of the best pair merge at once, from the left; an overlapping one has lost its first half by then.
      for (let place = found.indexOf(best); place < ids.length - 1; place++) {
        if (merged.get(ids[place] * PAIR + ids[place + 1]) === best) ids.splice(place, 2, best);
      }
    }
  }

  return {
    encode(text) {
      const ids = (cleanText(text).match(WORDS) ?? []).flatMap(wordIds);
      return Int32Array.from([startId, ...ids.slice(0, contextLength - 2), endId]);
    },
    decode(id) {
      const chars = [...pieces[id].replace(WORD_END, "")];
      return new TextDecoder().decode(Uint8Array.from(chars, (char) => byteOfChar.get(char)));
    },
  };
}
