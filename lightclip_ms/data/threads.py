"""Threads that read and decode, and a limit to how long anybody waits for them."""

import contextlib
import logging
import queue
import threading
from concurrent.futures import Future, wait

from lightclip_ms.data.reading import ReadFailed

_LOG = logging.getLogger("lightclip_ms.data")
LOOK_SECONDS = 30.0  # between two looks at work that does not finish
STALLED_LOOKS = 10  # in a row without any progress, before the file system counts as stalled


class Threads:
    """A pool of `count` threads, each of which first calls `initializer`; as a context it ends them.

    Unlike those of ThreadPoolExecutor, its threads do not keep the process from ending: a read from a stalled mount
    never returns, and the line that says so would be the last sign of a process that stays for ever.
    """

    def __init__(self, count: int, initializer=lambda: None):
        self._waiting, self._initializer = queue.SimpleQueue(), initializer
        self._stalled = False
        self._threads = [
            threading.Thread(target=self._work, name=f"lightclip-data-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        self._initializer()
        while (item := self._waiting.get()) is not None:
            future, function, arguments = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)
            del item, future, function, arguments  # or they would live until the next ones come

    def submit(self, function, *arguments) -> Future:
        """The future of `function(*arguments)`."""
        future = Future()
        self._waiting.put((future, function, arguments))
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
                self._stalled = True
                raise ReadFailed(
                    f"{what}: no data for {LOOK_SECONDS * STALLED_LOOKS:.0f} s: the file system stalls; start again "
                    "when it answers"
                )
        return [future.result() for future in futures]

    def close(self) -> None:
        """Drop what has not begun and end the threads; one that a stalled read holds ends with the process."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)
        if not self._stalled:
            for thread in self._threads:
                thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()
