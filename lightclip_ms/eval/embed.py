"""Embeddings of many images or texts in batches of one shape, on one rank or several with the same result.

Legend: N items, B batch size, E embedding size.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lightclip_ms.data.reading import ReadFailed
from lightclip_ms.data.skipped import BadRecord, SkipReport, printable
from lightclip_ms.data.threads import Threads
from lightclip_ms.eval.ranks import Ranks

_PREFETCHED = 3  # batches decoded ahead of the network


@dataclass(frozen=True)
class Embedded:
    """Features [n, E] of those of `count` items that could be read, `kept` int [n], and one line about the others.

    `per_second` counts the items of all ranks, without the first batch if there are more; None if nothing was computed.
    """

    features: np.ndarray
    kept: np.ndarray
    count: int
    per_second: float | None
    skipped: str = ""


class Embedder:
    """Runs two towers over data sets.

    Args:
        towers: `embed_dim`, `image_size`, `preprocess(bytes or Pillow image) -> [3, S, S]`,
            `tokenize(texts) -> ids [n, L]`, `encode_images(float32 [B, 3, S, S]) -> [B, E]` and
            `encode_texts(int32 [B, L]) -> [B, E]`, both normalised.
        batch_size: B; the last batch is padded, never dropped, so one compiled graph serves all.
        workers: threads that decode images.
        ranks: this process among others of the job.
        progress: wraps the batches, called as `tqdm(batches, total=number, desc=what)`.
    """

    def __init__(
        self,
        towers,
        batch_size: int = 64,
        workers: int = 2,
        ranks: Ranks = Ranks(),
        progress: Callable[..., Iterable] = lambda batches, total, desc: batches,
    ):
        if batch_size < 1 or workers < 1:
            raise ValueError(f"batch size and workers must be 1 or more, got {batch_size} and {workers}")
        self.towers = towers
        self.batch_size = batch_size
        self._workers = workers
        self._ranks = ranks
        self._progress = progress

    @property
    def world_size(self) -> int:
        """How many ranks share the work."""
        return self._ranks.world_size

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self._ranks.rank == 0

    def images(self, images) -> Embedded:
        """Embed a set with `len`, `key(i)` and `read(i)` (bytes or a Pillow image); the undecodable are counted."""
        report = SkipReport()

        def load(index: int) -> tuple[np.ndarray, bool]:
            try:
                return self.towers.preprocess(images.read(index)), True
            except BadRecord as error:
                report.add(error.reason, images.key(index), error.detail)
                return np.zeros((3, self.towers.image_size, self.towers.image_size), np.float32), False
            except MemoryError:
                raise ReadFailed(f"{images.key(index)}: not enough memory to decode it") from None

        with Threads(self._workers) as pool:
            batches = self._load_batches(pool, load, len(images))
            features, valid, per_second = self._run(batches, self.towers.encode_images, len(images), "images")
        if not valid.any():
            raise ValueError(f"none of {len(images)} images can be read; first: {report.summary()}")
        kept, lost = np.flatnonzero(valid), np.flatnonzero(~valid)
        # The reasons are in each rank's log; this line is the same on every rank.
        skipped = f"{len(lost)} of {len(images)} images, e.g. {images.key(int(lost[0]))}" if len(lost) else ""
        return Embedded(features[kept], kept, len(images), per_second, printable(skipped))

    def texts(self, texts: list[str]) -> Embedded:
        """Embed texts."""

        def batches():
            for chunk in self._chunks(len(texts)):
                yield self.towers.tokenize([texts[index] for index in chunk]), np.ones(len(chunk), bool)

        features, _, per_second = self._run(batches(), self.towers.encode_texts, len(texts), "texts")
        return Embedded(features, np.arange(len(texts)), len(texts), per_second)

    def _chunks(self, count: int) -> list[range]:
        """This rank's batches. They are the same for any number of ranks, so no sum changes."""
        starts = range(0, count, self.batch_size)
        chunks = [range(start, min(start + self.batch_size, count)) for start in starts]
        return chunks[self._ranks.rank :: self._ranks.world_size]

    def _load_batches(self, pool: Threads, load, count: int):
        chunks = self._chunks(count)
        waiting = deque()
        for chunk in chunks:
            waiting.append([pool.submit(load, index) for index in chunk])
            if len(waiting) > _PREFETCHED:
                yield _stack(pool.results(waiting.popleft(), "images"))
        while waiting:
            yield _stack(pool.results(waiting.popleft(), "images"))

    def _run(self, batches, encode, count: int, what: str) -> tuple[np.ndarray, np.ndarray, float]:
        """The batches of all ranks in order: features [N, E], whether each was readable [N], items per second."""
        size, world_size = self.batch_size, self._ranks.world_size
        rounds = -(-(-(-count // size)) // world_size)  # batches per rank; the last may be missing on some
        rows = np.zeros((rounds, size, self.towers.embed_dim + 1), np.float32)  # the last column: 1 for a readable item
        ends = [time.monotonic()]
        for row, (batch, valid) in zip(rows, self._progress(batches, total=len(self._chunks(count)), desc=what)):
            padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
            row[:, :-1] = encode(padded)
            row[: len(batch), -1] = valid
            ends.append(time.monotonic())
        # Rank r holds batches r, r + W, ...; after the gather they are interleaved back into their order.
        gathered = self._ranks.gather(rows.reshape(rounds * size, -1)).reshape(world_size, rounds, size, -1)
        ordered = gathered.swapaxes(0, 1).reshape(rounds * world_size * size, -1)[:count]
        first = 1 if len(ends) > 2 else 0  # the first batch compiles the graph
        per_second = (count - first * size * world_size) / max(ends[-1] - ends[first], 1e-9)
        return ordered[:, :-1], ordered[:, -1] > 0, per_second


def _stack(loaded) -> tuple[np.ndarray, np.ndarray]:
    items, valid = zip(*loaded)
    return np.stack(items), np.array(valid)
