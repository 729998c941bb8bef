"""Training batches: read, augment, tokenize and mask ahead of the network, in an order that is known beforehand."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np

from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.crew import Crew, takes_processes
from lightclip_ms.data.order import epoch_order, rank_batches, steps_per_epoch
from lightclip_ms.data.packing import caption_lengths
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.samples import REPLACEMENTS, NoReplacement, Samples, Unusable
from lightclip_ms.data.shared_object import SharedObject, attach
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.runtime.peers import Peers

_EARLY = 10_000  # records before which a cluster of bad ones is no reason to stop yet


class TrainData:
    """A data set as training batches for one rank.

    Everything random about a sample comes from a generator seeded by (seed, epoch, sample), and the order of an epoch
    from (seed, epoch): workers, ranks and resuming change nothing. Threads or processes do the work (see `crew`).

    A bad record is counted, and another one takes its place (see `samples`), so that batches keep their shape and ranks
    their step.

    Args:
        config: a `DataConfig`.
        tokenizer: a `Tokenizer`.
        layout: parts and sizes of a batch of this rank; only these parts are prepared.
        mask_ratio: share of a caption's tokens that is masked.
        peers: the ranks that open the data set now and share the work; by default this one does it alone.

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
        peers: Peers = Peers(),
    ):
        self._source = open_pairs(
            config.train, config.format, config.csv_image_key, config.csv_caption_key, config.csv_separator, peers
        )
        self.num_samples = len(self._source)
        self.steps_per_epoch = steps_per_epoch(self.num_samples, layout.batch_size, world_size)
        self._config = config
        self._tokenizer = tokenizer
        self._layout = layout
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._samples = Samples(self._source, tokenizer, config.augment, layout, mask_ratio, seed)
        self._shared = None  # what processes get of it
        self._idle = []  # crews of processes, from one epoch to the next
        self._bad = set()
        self._seen = 0
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
        with self._crew() as crew:
            under_way = collections.deque()

            def start(indices):
                slot = crew.memory.take()
                under_way.append((slot, crew.start(slot, indices, epoch)))

            try:
                for indices in batches[: crew.ahead]:
                    start(indices)
                # The next batches are always under way: the network never waits for the first sample of one.
                for step in range(len(batches)):
                    slot, chunks = under_way[0]
                    self._count(len(batches[step]), crew.results(chunks, self._config.train))
                    under_way.popleft()
                    batch = crew.memory.hand_over(slot)
                    if step + crew.ahead < len(batches):
                        start(batches[step + crew.ahead])
                    yield batch
                    del batch  # or its memory could not be used for the batch after the next
            except NoReplacement as error:
                self._count(0, [error.found])
                raise self._too_many(f"{REPLACEMENTS} in a row") from None
            finally:
                crew.drop([chunk for _, chunks in under_way for chunk in chunks])
                for slot, _ in under_way:
                    crew.memory.give_back(slot)

    @contextlib.contextmanager
    def _crew(self) -> Iterator[Crew]:
        """Workers for an epoch; processes take seconds to start, so they stay for the next one."""
        config = self._config
        if not takes_processes(config.workers):
            crew = Crew(self._samples, self._layout, config.workers)
            try:
                yield crew
            finally:
                crew.close()
            return
        if self._shared is None:
            self._shared = SharedObject(self._samples)
            # From here on this process too uses the index that all share.
            report, self._source, self._samples = self._source.report, attach(self._shared.handle).source, None
            self._source.report = report
        crew = self._idle.pop() if self._idle else Crew(self._shared, self._layout, config.workers)
        is_sound = True
        try:
            yield crew
        except Exception:
            is_sound = False
            raise
        finally:
            self._idle.append(crew) if is_sound else crew.close()

    def close(self) -> None:
        """End the processes that wait for the next epoch, as the end of the program or of this object does too."""
        while self._idle:
            self._idle.pop().close()

    def pack_captions(self, rows: int) -> None:
        """From the next epoch on, batches come with packed captions in `rows` rows per group (`data.packing`)."""
        self.close()  # processes that wait have the old layout
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

    def _count(self, good: int, chunks: list[list[Unusable]]) -> None:
        """Count the records of a batch and report the unusable ones among them, each once for all epochs."""
        self._seen += good
        for found in chunks:
            for sample, reason, detail in found:
                self._seen += 1
                if sample in self._bad:
                    continue
                self._bad.add(sample)
                self._source.report.add(reason, self.key(sample), detail)
                allowed = self._config.max_bad_fraction * min(self.num_samples, max(self._seen, _EARLY))
                if len(self._bad) > allowed:
                    raise self._too_many(f"{len(self._bad)} of the first {self._seen}")

    def _too_many(self, found: str) -> ValueError:
        return ValueError(
            f"{self._config.train}: {found} records cannot be used, more than data.max_bad_fraction "
            f"({self._config.max_bad_fraction}) allows: {self._source.report.summary()}"
        )
