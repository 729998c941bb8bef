"""A chunk of a training batch: read, augmented, tokenized and masked. Worker threads and processes run this."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lightclip_ms.data.batch import INDEX, MASKING, BatchLayout
from lightclip_ms.data.masking import mask_tokens
from lightclip_ms.data.reading import ReadFailed
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.text_augment import TextAugment
from lightclip_ms.data.transforms import TrainTransform

REPLACEMENTS = 32  # records tried in place of a bad one


class Unusable(NamedTuple):
    """A record that was replaced by another one, and why."""

    sample: int
    reason: str
    detail: str


class NoReplacement(Exception):
    """All records that were tried in place of one are bad; `found` are the unusable ones of the chunk so far."""

    def __init__(self, found: list[Unusable]):
        super().__init__(found)
        self.found = found


class Samples:
    """Samples of a data set, each with a generator seeded by (seed, epoch, sample): who makes it changes nothing.

    A bad record is replaced by another one, drawn by a generator seeded with (seed, epoch, sample) too.

    Args:
        source: see `pairs`.
        tokenizer, augment: a `Tokenizer` and an `AugmentConfig`.
        layout: parts and sizes of a batch.
        mask_ratio: share of a caption's tokens that is masked.
    """

    def __init__(self, source, tokenizer, augment, layout: BatchLayout, mask_ratio: float, seed: int):
        self.source, self._tokenizer = source, tokenizer
        self._transform = TrainTransform(layout.image_size, augment)
        self._augment_text = TextAugment(augment.text_p, augment.wordnet)
        has_views = any(_kind(name) == "text" for name in layout.parts if name != "text")
        self._augment_view = TextAugment(augment.text_view_p, augment.wordnet) if has_views else None
        self._parts, self._mask_ratio, self._seed = layout.parts, mask_ratio, seed
        self._bad = set()

    def fill(self, rows: dict[str, np.ndarray], indices: np.ndarray, epoch: int) -> list[Unusable]:
        """Write the samples `indices` into the rows of a batch, and the numbers of those really used into its index.

        Returns:
            the records that had to be replaced, in the order in which they were met.

        Raises:
            NoReplacement: too many bad records in a row. OSError: data could not be read, though nothing is wrong with
            the record (see `reading`). RuntimeError: a sample failed in an unforeseen way; the message names it.
        """
        captions, generators, found = {name: [] for name in self._parts if _kind(name) == "text"}, [], []
        for row, index in enumerate(indices.tolist()):
            sample, texts, pixels, generator = self._sample(index, epoch, found)
            rows[INDEX][row] = sample
            for name, picture in pixels.items():
                rows[name][row] = picture
            for name, text in texts.items():
                captions[name].append(text)
            generators.append(generator)
        for name, texts in captions.items():
            rows[name][:] = self._tokenizer(texts)
        if set(MASKING) & set(self._parts):
            vocab_size = self._tokenizer.vocab_size
            masked = mask_tokens(rows["text"], generators, vocab_size=vocab_size, mask_ratio=self._mask_ratio)
            for name, values in zip(MASKING, masked):
                if name in rows:
                    rows[name][:] = values
        return found

    def _sample(self, index: int, epoch: int, found: list[Unusable]):
        """(index, captions by view, pixels by view, generator) of a sample, or of the first good replacement."""
        for sample in itertools.chain([index], self._replacements(index, epoch)):
            if sample in self._bad:
                continue
            # The first view's generator also draws the masks, after everything else.
            rng = np.random.default_rng([self._seed, epoch, sample])
            try:
                pair = self.source.read(sample)
                captions = {"text": self._augment_text(pair.caption, rng)}
                pixels = {"image": self._transform.pixels(pair.image, rng)}
                for name in self._parts:
                    view = name.partition("_")[2]
                    if view.isdigit():
                        is_text = _kind(name) == "text"
                        further = np.random.default_rng([self._seed, epoch, sample, int(view), is_text])
                        if is_text:
                            captions[name] = self._augment_view(pair.caption, further)
                        else:
                            pixels[name] = self._transform.pixels(pair.image, further)
            except BadRecord as error:
                self._bad.add(sample)
                found.append(Unusable(sample, error.reason, error.detail))
            except OSError:
                raise
            except MemoryError:
                raise ReadFailed(f"{self.source.key(sample)}: not enough memory to decode it") from None
            except Exception as error:
                raise RuntimeError(f"{self.source.key(sample)}: {type(error).__name__}: {error}") from error
            else:
                return sample, captions, pixels, rng
        raise NoReplacement(found)

    def _replacements(self, index: int, epoch: int) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, epoch, index, 1])
        yield from rng.integers(0, len(self.source), REPLACEMENTS).tolist()


def _kind(part: str) -> str:
    """ "image" or "text" of the first view's and further views' parts; anything else of other parts."""
    return part.partition("_")[0]
