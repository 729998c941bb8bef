"""Threads or processes that make batches, with the memory they write to."""

import contextlib
import weakref
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np

from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.batch_memory import KEPT, BatchMemory, can_be_shared
from lightclip_ms.data.processes import process
from lightclip_ms.data.samples import Samples
from lightclip_ms.data.shared_object import SharedObject
from lightclip_ms.data.threads import Threads
from lightclip_ms.data.workers import start_worker

MOST_THREADS = 1  # more would wait for Python's lock, which a sample in a thread holds for a good part of its time
_CHUNK = 16  # samples that one worker takes at a time
_LEAST_AHEAD = 2  # batches under way while the network has one


def takes_processes(workers: int) -> bool:
    """Whether so many workers are processes."""
    return workers > MOST_THREADS and can_be_shared()


class Crew:
    """The workers of one epoch at a time.

    Args:
        samples: what makes the samples; a `SharedObject` of it for processes.
        layout: parts and sizes of a batch.
        workers: how many threads or processes.

    Attributes:
        ahead: batches to have under way, so that no worker waits for the network to take one.
    """

    def __init__(self, samples: Samples | SharedObject, layout: BatchLayout, workers: int):
        self._chunk = min(_CHUNK, layout.batch_size)
        self.ahead = max(_LEAST_AHEAD, -(-2 * workers * self._chunk // layout.batch_size))
        memory = self.memory = BatchMemory(layout, self.ahead + KEPT)
        if isinstance(samples, SharedObject):
            self._pool = Threads(workers, lambda: process(samples, layout, memory))
        else:
            self._pool = Threads(workers, lambda: _thread(samples, memory))
        self.results, self.drop = self._pool.results, self._pool.drop
        # Also at the program's end, while its threads still run.
        self.close = weakref.finalize(self, self._pool.close)

    def start(self, slot: int, indices: np.ndarray, epoch: int) -> list[Future]:
        """Have a slot of the memory filled: futures of the records that were replaced, chunk by chunk."""
        return [
            self._pool.submit(slot, start, indices[start : start + self._chunk], epoch)
            for start in range(0, len(indices), self._chunk)
        ]


@contextlib.contextmanager
def _thread(samples: Samples, memory: BatchMemory) -> Iterator:
    start_worker()
    yield lambda slot, start, indices, epoch: samples.fill(memory.rows(slot, start, len(indices)), indices, epoch)
