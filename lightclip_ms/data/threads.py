"""Threads that read and decode, or wait for processes that do, and a limit to how long anybody waits for them."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait

from lightclip_ms.data.reading import ReadFailed
from lightclip_ms.data.workers import start_worker

_LOG = logging.getLogger("lightclip_ms.data")
LOOK_SECONDS = 30.0  # between two looks at work that does not finish
STALLED_LOOKS = 10  # in a row without any progress, before the file system counts as stalled


@contextlib.contextmanager
def calling() -> Iterator[Callable]:
    """A worker that calls the function it gets, in its thread."""
    start_worker()
    yield lambda function, *arguments: function(*arguments)


class Threads:
    """A pool of `count` threads; as a context it ends them.

    Unlike those of ThreadPoolExecutor, its threads do not keep the process from ending: a read from a stalled mount
    never returns, and the line that says so would be the last sign of a process that stays for ever.

    Args:
        worker: makes a context, which every thread enters before its first piece of work and leaves at its end. It
            gives the function that does a piece; if it raises, so does every piece.
    """

    def __init__(self, count: int, worker=calling):
        self._waiting, self._worker = queue.SimpleQueue(), worker
        self.has_stalled = False
        self._threads = [
            threading.Thread(target=self._work, name=f"lightclip-data-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        with contextlib.ExitStack() as stack:
            try:
                do = stack.enter_context(self._worker())
            except Exception as error:
                do = _raising(error)
            while (item := self._waiting.get()) is not None:
                future, arguments = item
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(do(*arguments))
                except BaseException as error:
                    future.set_exception(error)
                del item, future, arguments  # or they would live until the next ones come

    def submit(self, *arguments) -> Future:
        """The future of a piece of work: what the worker's function makes of `arguments`."""
        future = Future()
        self._waiting.put((future, arguments))
        return future

    def results(self, futures: list[Future], what: str) -> list:
        """The results, in order.

        Args:
            what: names the data in the message.

        Raises:
            ReadFailed: none of the futures made progress for `STALLED_LOOKS` times `LOOK_SECONDS`. Whatever one raised.
        """
        missing, idle = len(futures), 0
        while left := wait(futures, LOOK_SECONDS).not_done:
            # Looks, not seconds, are counted: a process that was stopped for an hour has missed a single one.
            idle = idle + 1 if len(left) == missing else 0
            missing = len(left)
            if idle == 1:
                _LOG.warning("%s: still waiting for data after %.0f s", what, LOOK_SECONDS)
            if idle >= STALLED_LOOKS:
                self.has_stalled = True
                raise ReadFailed(
                    f"{what}: no data for {LOOK_SECONDS * STALLED_LOOKS:.0f} s: the file system stalls; start again "
                    "when it answers"
                )
        return [future.result() for future in futures]

    def drop(self, futures: list[Future]) -> None:
        """Cancel what has not begun, and wait for what has, unless reads stall."""
        running = [future for future in futures if not future.cancel()]
        if not self.has_stalled:
            wait(running)

    def close(self) -> None:
        """Drop what has not begun and end the threads; one that a stalled read holds ends with the process."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)
        if not self.has_stalled:
            for thread in self._threads:
                thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _raising(error: Exception) -> Callable:
    def fail(*arguments):
        raise error

    return fail
