"""Threads or processes that make batches, with the memory they write to."""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np

from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.batch_memory import KEPT, BatchMemory, can_be_shared
from lightclip_ms.data.filler import Filler
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
            make_filler = functools.partial(process, samples, layout, memory)
        else:
            make_filler = functools.partial(_thread, Filler(samples, layout, memory))
        self._pool = Threads(workers, functools.partial(_worker, make_filler, layout.packed_rows > 0))
        self.results, self.drop = self._pool.results, self._pool.drop
        # Also at the program's end, while its threads still run.
        self.close = weakref.finalize(self, self._pool.close)

    def start(self, slot: int, indices: np.ndarray, epoch: int) -> list[Future]:
        """Have a slot of the memory filled: futures of the records that were replaced, chunk by chunk."""
        starts = range(0, len(indices), self._chunk)
        left = list(range(len(starts)))
        return [self._pool.submit(left, slot, start, indices[start : start + self._chunk], epoch) for start in starts]


@contextlib.contextmanager
def _thread(filler: Filler) -> Iterator[Callable]:
    """As `process`, in the calling thread."""
    start_worker()
    yield lambda method, *arguments: getattr(filler, method)(*arguments)


@contextlib.contextmanager
def _worker(make_filler: Callable, packs: bool) -> Iterator[Callable]:
    """A worker for `Threads` that fills chunks; who fills the last one of a batch packs its captions."""
    with make_filler() as call:

        def work(left: list, *chunk):
            found = call("fill", *chunk)
            # Taking the last element is atomic, and only one of the workers gets the 0.
            if left.pop() == 0 and packs:
                call("pack", chunk[0])
            return found

        yield work
