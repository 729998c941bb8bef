"""Training batches: read, augment, tokenize and mask ahead of the network, in an order that is known beforehand."""

import collections
import dataclasses
import threading
from collections.abc import Iterator

import numpy as np

from lightclip_ms.data.batch import CAPTIONS, INDEX, MASKING, PARTS, BatchLayout
from lightclip_ms.data.masking import mask_tokens
from lightclip_ms.data.order import epoch_order, rank_batches, steps_per_epoch
from lightclip_ms.data.packing import caption_lengths, pack_groups
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.reading import ReadFailed
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.text_augment import TextAugment
from lightclip_ms.data.threads import Threads
from lightclip_ms.data.transforms import TrainTransform
from lightclip_ms.data.workers import start_worker

_PREFETCH = 2  # batches under way while the network has one
_CHUNK = 8  # samples that one worker takes at a time
_REPLACEMENTS = 32  # records tried in place of a bad one
_EARLY = 10_000  # records before which a cluster of bad ones is no reason to stop yet


class TrainData:
    """A data set as training batches for one rank.

    Everything random about a sample comes from a generator seeded by (seed, epoch, sample), and the order of an epoch
    from (seed, epoch): workers, ranks and resuming change nothing. Threads do the work, because decoding and the
    pixel operations release Python's lock, as MindSpore does while a graph runs.

    A bad record is counted, and another one, drawn by a generator seeded with (seed, epoch, sample) too, takes its
    place, so that batches keep their shape and ranks their step.

    Args:
        config: a `DataConfig`.
        tokenizer: a `Tokenizer`.
        layout: parts and sizes of a batch of this rank; only these parts are prepared.
        mask_ratio: share of a caption's tokens that is masked.

    Raises:
        FileNotFoundError, ValueError: nothing there, nothing usable, or not enough for one global batch.
    """

    def __init__(
        self,
        config,
        tokenizer,
        layout: BatchLayout,
        mask_ratio: float = 0.15,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self._source = open_pairs(
            config.train, config.format, config.csv_image_key, config.csv_caption_key, config.csv_separator
        )
        self.num_samples = len(self._source)
        self.steps_per_epoch = steps_per_epoch(self.num_samples, layout.batch_size, world_size)
        self._config = config
        self._tokenizer = tokenizer
        self._layout = layout
        self._mask_ratio = mask_ratio
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._transform = TrainTransform(layout.image_size, config.augment)
        self._augment_text = TextAugment(config.augment.text_p, config.augment.wordnet)
        further = self._views("text")[1:]
        self._augment_view = TextAugment(config.augment.text_view_p, config.augment.wordnet) if further else None
        self._bad = set()
        self._seen = 0
        self._lock = threading.Lock()
        left_out = sum(self.skipped.values())
        if left_out > config.max_bad_fraction * (left_out + self.num_samples):
            raise self._too_many(f"{left_out} of {left_out + self.num_samples}")

    @property
    def skipped(self) -> collections.Counter:
        """Records left out so far, by reason; a record counts once, however many epochs meet it."""
        return self._source.report.counts

    def key(self, index: int) -> str:
        """Name of a sample for messages: its file and key."""
        return self._source.key(int(index))

    def keys(self, indices) -> list[str]:
        """Names of the samples of a batch's `index`."""
        return [self.key(index) for index in indices]

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """Batches of an epoch from `start_step` on, exactly as an uninterrupted epoch gives them.

        Yields:
            the parts of the layout (`data.batch`) and `index` int32 [N].

        Raises:
            ValueError: more bad records than `max_bad_fraction` allows. OSError: data could not be read, though nothing
            is wrong with the record (see `data.reading`). RuntimeError: a sample failed in an unforeseen way; the
            message names it.
        """
        order = epoch_order(self._source.shard_sizes, self._seed, epoch, self._config.shuffle_window)
        batches = rank_batches(order, self._layout.batch_size, self._rank, self._world_size)[start_step:]
        with Threads(self._config.workers, start_worker) as pool:
            under_way = collections.deque()
            for indices in batches[:_PREFETCH]:
                under_way.append(self._start(pool, indices, epoch))
            # The next batches are always under way: the network never waits for the first sample of one.
            for step in range(len(batches)):
                images, chunks = under_way.popleft()
                parts = pool.results(chunks, self._config.train)
                if step + _PREFETCH < len(batches):
                    under_way.append(self._start(pool, batches[step + _PREFETCH], epoch))
                batch = {**images, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}
                yield self._pack(batch) if self._layout.packed_rows else batch

    def pack_captions(self, rows: int) -> None:
        """From the next epoch on, batches come with packed captions in `rows` rows per group (`data.packing`)."""
        self._layout = dataclasses.replace(self._layout, packed_rows=rows)

    def sample_lengths(self, count: int) -> np.ndarray:
        """Tokens of up to `count` captions, spread evenly over the data set: int [S]; unreadable ones are left out."""
        lengths = []
        for index in np.unique(np.linspace(0, self.num_samples - 1, min(count, self.num_samples)).astype(np.int64)):
            try:
                caption = self._source.read(int(index)).caption
            except BadRecord:
                continue
            lengths.append(int(caption_lengths(self._tokenizer([caption]), self._tokenizer.eot_id)[0]))
        return np.array(lengths, np.int64)

    def _pack(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        layout = self._layout
        captions = [batch[name] for name in CAPTIONS if name in layout.parts]
        return {**batch, **pack_groups(captions, self._tokenizer.eot_id, layout.packed_rows, layout.groups)}

    def _start(self, pool: Threads, indices: np.ndarray, epoch: int):
        """Pictures of a batch, still empty, and the futures of the chunks that fill them and return all the rest."""
        images = {name: np.empty(self._layout.shape(name), PARTS[name].dtype) for name in self._views("image")}
        chunks = [slice(start, start + _CHUNK) for start in range(0, len(indices), _CHUNK)]
        return images, [
            pool.submit(self._fill, {name: views[chunk] for name, views in images.items()}, indices[chunk], epoch)
            for chunk in chunks
        ]

    def _views(self, kind: str) -> list[str]:
        """The layout's parts of a kind, "image" or "text": the first view and further ones."""
        return [name for name in self._layout.parts if name.split("_")[0] == kind]

    def _fill(self, images: dict[str, np.ndarray], indices: np.ndarray, epoch: int) -> dict[str, np.ndarray]:
        captions, generators, used = {name: [] for name in self._views("text")}, [], []
        for row, index in enumerate(indices.tolist()):
            sample, texts, pixels, generator = self._sample(index, epoch)
            for name, views in images.items():
                views[row] = pixels[name]
            for name, texts_of_view in captions.items():
                texts_of_view.append(texts[name])
            generators.append(generator)
            used.append(sample)
        filled = {name: self._tokenizer(texts) for name, texts in captions.items()}
        if set(MASKING) & set(self._layout.parts):
            masked = mask_tokens(
                filled["text"], generators, vocab_size=self._tokenizer.vocab_size, mask_ratio=self._mask_ratio
            )
            filled.update(zip(MASKING, masked))
        return {**filled, INDEX: np.array(used, np.int32)}

    def _sample(self, index: int, epoch: int):
        """(index, captions by view, pixels by view, generator) of a sample, or of the first good replacement."""
        for sample in self._candidates(index, epoch):
            if sample in self._bad:
                continue
            # The first view's generator also draws the masks, after everything else.
            rng = np.random.default_rng([self._seed, epoch, sample])
            try:
                pair = self._source.read(sample)
                captions = {"text": self._augment_text(pair.caption, rng)}
                pixels = {"image": self._transform.pixels(pair.image, rng)}
                for name in self._layout.parts:
                    kind, _, view = name.partition("_")
                    if view.isdigit():
                        further = np.random.default_rng([self._seed, epoch, sample, int(view), kind == "text"])
                        if kind == "text":
                            captions[name] = self._augment_view(pair.caption, further)
                        else:
                            pixels[name] = self._transform.pixels(pair.image, further)
            except BadRecord as error:
                self._leave_out(sample, error)
            except OSError:
                raise
            except MemoryError:
                raise ReadFailed(f"{self.key(sample)}: not enough memory to decode it") from None
            except Exception as error:
                raise RuntimeError(f"{self.key(sample)}: {type(error).__name__}: {error}") from error
            else:
                with self._lock:
                    self._seen += 1
                return sample, captions, pixels, rng
        raise self._too_many(f"{_REPLACEMENTS} in a row")

    def _candidates(self, index: int, epoch: int) -> Iterator[int]:
        yield index
        others = np.random.default_rng([self._seed, epoch, index, 1]).integers(0, self.num_samples, _REPLACEMENTS)
        yield from others.tolist()

    def _leave_out(self, sample: int, error: BadRecord) -> None:
        with self._lock:
            known = sample in self._bad
            self._bad.add(sample)
            self._seen += 1
            allowed = self._config.max_bad_fraction * min(self.num_samples, max(self._seen, _EARLY))
        if not known:
            self._source.report.add(error.reason, self.key(sample), error.detail)
        if len(self._bad) > allowed:
            raise self._too_many(f"{len(self._bad)} of the first {self._seen}")

    def _too_many(self, found: str) -> ValueError:
        return ValueError(
            f"{self._config.train}: {found} records cannot be used, more than data.max_bad_fraction "
            f"({self._config.max_bad_fraction}) allows: {self._source.report.summary()}"
        )
