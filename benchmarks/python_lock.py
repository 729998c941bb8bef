"""How long a piece of work holds Python's lock, by how long it keeps a thread that only counts from running."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

_BEGIN_SECONDS = 0.25  # for the counting thread to reach its core


class _Counter:
    """A thread that counts on a core of its own."""

    def __init__(self, core: int):
        self.count, self._core, self._stop = 0, core, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        os.sched_setaffinity(0, {self._core})  # of this thread
        while not self._stop:
            self.count += 1

    def seconds_idle(self) -> float:
        """Seconds since the machine started in which the thread neither ran nor waited for its core."""
        with open(f"/proc/self/task/{self._thread.native_id}/schedstat") as file:
            ran, waited = map(int, file.read().split()[:2])  # nanoseconds
        return time.monotonic() - (ran + waited) / 1e9

    def stop(self) -> None:
        self._stop = True
        self._thread.join()


@contextlib.contextmanager
def one_core_spared() -> Iterator[int]:
    """The number of a core that this thread, and all it starts within the block, leave alone.

    Raises:
        OSError: there is only one core.
    """
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise OSError("measuring Python's lock needs a core beside those that work")
    spared = max(cores)
    os.sched_setaffinity(0, cores - {spared})
    try:
        yield spared
    finally:
        os.sched_setaffinity(0, cores)


def seconds_locked(work, core: int) -> float:
    """Seconds for which `work()`, in any thread but the counting one, holds the lock; `core` as `one_core_spared`.

    Counted are the seconds in which the counting thread neither runs nor waits for its core, so that other processes of
    a busy machine do not count. Work that only sleeps gives the seconds that the measurement itself adds.
    """
    counter = _Counter(core)
    try:
        time.sleep(_BEGIN_SECONDS)
        before = counter.seconds_idle()
        work()
        return counter.seconds_idle() - before
    finally:
        counter.stop()
