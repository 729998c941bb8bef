"""A chunk of a training batch: read, augmented, tokenized and masked. Worker threads and processes run this."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lightclip_ms.data.batch import INDEX, MASKING, BatchLayout
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.image_augment import Augmentation
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


class _Drawn(NamedTuple):
    """A sample for which nothing random is left to draw but its masks, and whose pictures are not decoded yet."""

    sample: int
    captions: dict[str, str]  # by view
    pictures: dict[str, tuple[EncodedImage, Augmentation]]
    generator: np.random.Generator  # of the first view; it draws the masks, after everything else


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

    @property
    def eot_id(self) -> int:
        """The token that ends a caption."""
        return self._tokenizer.eot_id

    def fill(self, rows: dict[str, np.ndarray], indices: np.ndarray, epoch: int) -> list[Unusable]:
        """Write the samples `indices` into the rows of a batch, and the numbers of those really used into its index.

        Returns:
            the records that had to be replaced, in the order in which they were met.

        Raises:
            NoReplacement: too many bad records in a row. OSError: data could not be read, though nothing is wrong with
            the record (see `reading`). RuntimeError: a sample failed in an unforeseen way; the message names it.
        """
        found = []
        # First what Python does, then what OpenCV does: each finds its code and data in the processor's caches.
        attempts = [self._attempts(index, epoch, found) for index in indices.tolist()]
        drawn = [next(each) for each in attempts]
        for row, others in enumerate(attempts):
            while not self._decode(drawn[row], {name: rows[name][row] for name in drawn[row].pictures}, found):
                drawn[row] = next(others)
        rows[INDEX][:] = [each.sample for each in drawn]
        for name in drawn[0].captions:
            rows[name][:] = self._tokenizer([each.captions[name] for each in drawn])
        if set(MASKING) & set(self._parts):
            generators, vocab_size = [each.generator for each in drawn], self._tokenizer.vocab_size
            masked = mask_tokens(rows["text"], generators, vocab_size=vocab_size, mask_ratio=self._mask_ratio)
            for name, values in zip(MASKING, masked):
                if name in rows:
                    rows[name][:] = values
        return found

    def _attempts(self, index: int, epoch: int, found: list[Unusable]) -> Iterator[_Drawn]:
        """The sample `index`, and if that is not enough, replacements for it."""
        for sample in itertools.chain([index], self._replacements(index, epoch)):
            drawn = None
            if sample not in self._bad:
                with self._reporting(sample, found):
                    drawn = self._draw(sample, epoch)
            if drawn is not None:
                yield drawn
        raise NoReplacement(found)

    def _draw(self, sample: int, epoch: int) -> _Drawn:
        pair, rng = self.source.read(sample), np.random.default_rng([self._seed, epoch, sample])
        captions = {"text": self._augment_text(pair.caption, rng)}
        pictures = {"image": self._transform.draw(pair.image, rng)}
        for name in self._parts:
            view = name.partition("_")[2]
            if view.isdigit():
                is_text = _kind(name) == "text"
                further = np.random.default_rng([self._seed, epoch, sample, int(view), is_text])
                if is_text:
                    captions[name] = self._augment_view(pair.caption, further)
                else:
                    pictures[name] = self._transform.draw(pair.image, further)
        return _Drawn(sample, captions, pictures, rng)

    def _decode(self, drawn: _Drawn, places: dict[str, np.ndarray], found: list[Unusable]) -> bool:
        """Put the pictures into their places; False if they are damaged."""
        is_good = False
        with self._reporting(drawn.sample, found):
            for name, picture in drawn.pictures.items():
                places[name][:] = self._transform.augment(*picture)
            is_good = True
        return is_good

    @contextlib.contextmanager
    def _reporting(self, sample: int, found: list[Unusable]) -> Iterator[None]:
        """Takes down a bad record, and gives any other error the sample's name."""
        try:
            yield
        except BadRecord as error:
            self._bad.add(sample)
            found.append(Unusable(sample, error.reason, error.detail))
        except OSError:
            raise
        except MemoryError:
            raise ReadFailed(f"{self.source.key(sample)}: not enough memory to decode it") from None
        except Exception as error:
            raise RuntimeError(f"{self.source.key(sample)}: {type(error).__name__}: {error}") from error

    def _replacements(self, index: int, epoch: int) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, epoch, index, 1])
        yield from rng.integers(0, len(self.source), REPLACEMENTS).tolist()


def _kind(part: str) -> str:
    """ "image" or "text" of the first view's and further views' parts; anything else of other parts."""
    return part.partition("_")[0]
