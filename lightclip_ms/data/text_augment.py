"""Caption augmentation (paper section 4.1): one of synonym replacement, random swap, random deletion."""

import logging

import numpy as np
import regex

from lightclip_ms.data.wordnet import find_wordnet, load_synonyms

_LOG = logging.getLogger("lightclip_ms.data")
_SHARE = 0.1  # of a caption's words that one operation touches, as in EDA (Wei and Zou, 2019)
_WORD = regex.compile(r"^(\P{L}*)(.*?)('s?|’s?)?(\P{L}*)$", regex.DOTALL)


class TextAugment:
    """Captions to slightly different captions; what is drawn depends on the generator alone.

    Without WordNet the choice is between swap and deletion, and one warning tells how to get it.

    Args:
        probability: share of captions that are changed at all.
        wordnet: folder of WordNet's files; empty looks in the usual places.

    Raises:
        ValueError: `wordnet` names a folder without it.
    """

    def __init__(self, probability: float = 1.0, wordnet: str = ""):
        self._probability = probability
        folder = find_wordnet(wordnet) if probability else None
        self._synonyms = load_synonyms(folder) if folder is not None else {}
        self._operations = [self.swap, self.delete]
        if self._synonyms:
            self._operations.insert(0, self.replace)
        elif probability:
            _LOG.warning(
                "no WordNet found: captions are augmented by swap and deletion only; to add synonyms, run "
                "`apt-get install wordnet-base` or set data.augment.wordnet to a folder with its files"
            )

    def __call__(self, caption: str, rng: np.random.Generator) -> str:
        """An augmented caption, never empty if the caption is not."""
        chance, choice = rng.random(2).tolist()
        words = caption.split()
        if chance >= self._probability or not words:
            return caption
        return " ".join(self._operations[int(choice * len(self._operations))](words, rng))

    def replace(self, words: list[str], rng: np.random.Generator) -> list[str]:
        """Words with a synonym for about a tenth of them, at least one, where WordNet knows any."""
        words = list(words)
        known = [i for i, word in enumerate(words) if _core(word).lower() in self._synonyms]
        for i in rng.permutation(known)[: _touched(words)].tolist() if known else ():
            before, core, ending, after = _WORD.match(words[i]).groups("")
            synonyms = self._synonyms[core.lower()]
            synonym = _like(core, synonyms[int(rng.random() * len(synonyms))])
            words[i] = before + synonym + ending + after
        return words

    def swap(self, words: list[str], rng: np.random.Generator) -> list[str]:
        """Words with pairs exchanged; punctuation stays where it was."""
        words = list(words)
        for _ in range(_touched(words) if len(words) > 1 else 0):
            i, j = rng.permutation(len(words))[:2].tolist()
            first, second = _WORD.match(words[i]).groups(""), _WORD.match(words[j]).groups("")
            words[i] = first[0] + second[1] + second[2] + first[3]
            words[j] = second[0] + first[1] + first[2] + second[3]
        return [word for word in words if word]

    def delete(self, words: list[str], rng: np.random.Generator) -> list[str]:
        """Words without about a tenth of them; one always stays."""
        kept = (rng.random(len(words)) >= _SHARE).tolist()
        if not any(kept):
            kept[int(rng.integers(len(words)))] = True
        return [word for word, keep in zip(words, kept) if keep]


def _touched(words: list[str]) -> int:
    return max(1, round(_SHARE * len(words)))


def _core(word: str) -> str:
    return _WORD.match(word)[2]


def _like(model: str, word: str) -> str:
    """`word` in capitals as `model` is."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() else word
