"""CLIP's byte-level BPE, with OpenAI's ids for the full vocabulary. Legend: N texts, L context length."""

import functools
import gzip
import html
import importlib.util
import pathlib

import ftfy
import numpy as np
import regex
from tokenizers import models

from lightclip_ms.config.presets import preset

FULL_VOCAB_SIZE = 49408
_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MIN_VOCAB_SIZE = 514  # 256 bytes, 256 bytes that end a word, SOT, EOT
_SOT, _EOT, _MASK = "<|startoftext|>", "<|endoftext|>", "<|mask|>"
_WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
_SPACES = regex.compile(r"\s+")


def clean_text(text: str) -> str:
    """Repair encoding and HTML entities, squeeze white space, lower the case: what OpenAI's tokenizer does first."""
    # ftfy leaves printable ASCII without entities as it is, and takes most of the time of everything in this file.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return _SPACES.sub(" ", text).strip().lower()


class Tokenizer:
    """Texts to ids and back.

    A smaller `vocab_size` keeps only the first `vocab_size - 514` merges, so frequent words stay whole and rare ones
    fall into more pieces; ids: ordinary `< sot_id == vocab_size - 2`, `eot_id == vocab_size - 1`,
    `mask_id == vocab_size`.

    Args:
        context_length, vocab_size: L, V.
        merges: pairs in order of rank, at least V - 514; None takes OpenAI's file.

    Raises:
        ValueError: `vocab_size` or `context_length` out of range, or too few merges.
        FileNotFoundError: the package `openai-clip`, which ships the merges, is not installed.
    """

    def __init__(
        self,
        context_length: int = 77,
        vocab_size: int = FULL_VOCAB_SIZE,
        merges: tuple[tuple[str, str], ...] | None = None,
    ):
        if not _MIN_VOCAB_SIZE <= vocab_size <= FULL_VOCAB_SIZE:
            raise ValueError(f"vocab_size must be {_MIN_VOCAB_SIZE} to {FULL_VOCAB_SIZE}, got {vocab_size}")
        if context_length < 3:
            raise ValueError(f"context_length must be 3 or more (start, a word, end), got {context_length}")
        self.context_length = context_length
        self.vocab_size = vocab_size
        self.sot_id, self.eot_id, self.mask_id = vocab_size - 2, vocab_size - 1, vocab_size
        self._byte_to_char = _bytes_to_chars()
        self.merges = _checked_merges(_merges() if merges is None else merges, vocab_size)
        self._pieces, bpe = _vocabulary(self.merges)
        special = {_SOT: (self.sot_id,), _EOT: (self.eot_id,)}

        # Captions repeat their words: the cache answers for nearly all of them, and its bound keeps web data in memory.
        @functools.lru_cache(maxsize=1 << 16)
        def word_ids(word: str) -> tuple:
            if word in special:
                return special[word]
            spelled = "".join(self._byte_to_char[byte] for byte in word.encode("utf-8"))
            return tuple(token.id for token in bpe.tokenize(spelled))

        self._word_ids = word_ids

    def __reduce__(self):
        return Tokenizer, (self.context_length, self.vocab_size, self.merges)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without start, end or padding."""
        return [piece for word in _WORDS.findall(clean_text(text)) for piece in self._word_ids(word)]

    def __call__(self, texts: str | list[str]) -> np.ndarray:
        """Ids of texts, int32 `[N, L]`: SOT, the text cut to `L - 2` tokens, EOT, then zeros."""
        texts = [texts] if isinstance(texts, str) else texts
        ids = np.zeros((len(texts), self.context_length), np.int32)
        for row, text in zip(ids, texts):
            if not isinstance(text, str):
                raise ValueError(f"the tokenizer takes str or a list of str, got an item of type {type(text).__name__}")
            pieces = self.encode(text)[: self.context_length - 2]
            row[: len(pieces) + 2] = (self.sot_id, *pieces, self.eot_id)
        return ids

    def decode(self, ids) -> str:
        """Text of ids `[L]` up to the first EOT, without SOT; a masked position reads `<|mask|>`."""
        text = bytearray()
        for token in np.asarray(ids).tolist():
            if token == self.eot_id:
                break
            if token == self.mask_id:
                text += f"{_MASK} ".encode()
            elif token != self.sot_id:
                text += self._pieces[token]
        return text.decode("utf-8", errors="replace").strip()


def _bytes_to_chars() -> list[str]:
    """GPT-2's printable stand-in character for each of the 256 bytes."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


@functools.lru_cache(maxsize=1)
def _merges() -> tuple[tuple[str, str], ...]:
    """All merges of OpenAI's file in order of rank; found beside the package `clip` without importing its code."""
    spec = importlib.util.find_spec("clip")
    folders = spec.submodule_search_locations if spec else None
    path = next((p for p in (pathlib.Path(f, _MERGES_FILE) for f in folders or ()) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"CLIP's merges ({_MERGES_FILE}) not found: pip install openai-clip")
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return tuple(tuple(line.split()) for line in lines[1 : FULL_VOCAB_SIZE - _MIN_VOCAB_SIZE + 1])


def read_merges(path: str | pathlib.Path) -> tuple[tuple[str, str], ...]:
    """Merges of a text file, one `left right` a line in order of rank.

    Raises:
        ValueError: a line is not two words; the message names it.
    """
    lines = pathlib.Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    merges = tuple(tuple(line.split(" ")) for line in lines if line)
    wrong = next((number for number, merge in enumerate(merges, 1) if len(merge) != 2), None)
    if wrong is not None:
        raise ValueError(f"{path}, line {wrong}: a merge is two words, found {lines[wrong - 1]!r}")
    return merges


def _checked_merges(merges: tuple[tuple[str, str], ...], vocab_size: int) -> tuple[tuple[str, str], ...]:
    if len(merges) < vocab_size - _MIN_VOCAB_SIZE:
        raise ValueError(f"a vocabulary of {vocab_size} needs {vocab_size - _MIN_VOCAB_SIZE} merges, got {len(merges)}")
    return merges[: vocab_size - _MIN_VOCAB_SIZE]


@functools.lru_cache(maxsize=4)
def _vocabulary(merges: tuple[tuple[str, str], ...]) -> tuple[list[bytes], models.BPE]:
    """Bytes of each ordinary id (a word's end is a space) and the merging model."""
    chars = _bytes_to_chars()
    # OpenAI's file order: printable bytes first, then the stand-ins.
    alphabet = sorted(chars, key=lambda char: (ord(char) >= 0x100, ord(char)))
    names = alphabet + [char + "</w>" for char in alphabet] + [left + right for left, right in merges]
    char_to_byte = {char: byte for byte, char in enumerate(chars)}
    pieces = [
        bytes(char_to_byte[char] for char in name.removesuffix("</w>")) + (b" " if name.endswith("</w>") else b"")
        for name in names
    ]
    vocab = {name: index for index, name in enumerate(names)}
    return pieces, models.BPE(vocab=vocab, merges=list(merges), end_of_word_suffix="</w>")


def check_ids(ids: np.ndarray, context_length: int, vocab_size: int) -> int:
    """How many columns of ids int [N, L] hold all texts up to their first end of text.

    Raises:
        ValueError: another shape, an id outside the vocabulary, or a row without end of text.
    """
    mask_id, eot_id = vocab_size, vocab_size - 1
    if ids.ndim != 2 or ids.shape[1] != context_length:
        raise ValueError(f"tokens must be [N, {context_length}], not {list(ids.shape)}")
    if ids.size and not 0 <= ids.min() <= ids.max() <= mask_id:
        raise ValueError(f"token ids must be 0 to {mask_id}; was another model's tokenizer used?")
    is_end = ids == eot_id
    ended = is_end.any(axis=1)
    if not ended.all():
        raise ValueError(
            f"row {int(ended.argmin())} has no end-of-text id {eot_id}; was another model's tokenizer used?"
        )
    return int(is_end.argmax(axis=1).max(initial=1)) + 1


def get_tokenizer(name: str) -> Tokenizer:
    """The `Tokenizer` whose ids the named model's text encoder was built for."""
    config = preset(name)
    return Tokenizer(config.context_length, config.vocab_size)
