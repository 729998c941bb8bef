"""Worker processes, each the servant of one thread, which sends it what a `Filler` is to do.

Why not `concurrent.futures` or `multiprocessing`: their workers import the caller's main module (which loads MindSpore,
or starts a script without a guard again), and stay when their parent is killed. Here a worker runs nothing but this
package, reads from a socket, and ends when that closes, whoever dies how; batches are in `BatchMemory`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.batch_memory import BatchMemory
from lightclip_ms.data.shared_object import SharedObject

_END_SECONDS = 5.0  # for a worker to end when its socket is closed
# Requests to stop go to the whole job; the training process still needs batches to finish its step.
_IGNORED = [int(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
_CODE = f"""
import signal
for number in {_IGNORED}:
    signal.signal(number, signal.SIG_IGN)
from lightclip_ms.data.worker_process import main
main()
"""


class WorkerDied(OSError):
    """A worker process ended before its work."""


class _Failed(Exception):
    """Carries the trace of a worker's exception, as text."""


@contextlib.contextmanager
def process(samples: SharedObject, layout: BatchLayout, memory: BatchMemory) -> Iterator[Callable]:
    """A process of its own for a worker of `Threads`; gives a function that calls a method of its `Filler` by name.

    Raises:
        OSError: no process can be started. WorkerDied: it was killed.
    """
    ours, theirs = socket.socketpair()
    connection = Connection(ours.detach())
    with contextlib.closing(connection), theirs:
        descriptors = (theirs.fileno(), samples.descriptor, memory.descriptor)
        child = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(theirs.fileno())],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        theirs.close()
        try:
            _exchange(child, lambda: connection.send((samples.handle, layout, memory.slots, memory.descriptor)))
            yield lambda method, *arguments: _call(child, connection, method, arguments)
        finally:
            connection.close()
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _call(child: subprocess.Popen, connection: Connection, method: str, arguments: tuple):
    def exchange():
        connection.send((method, arguments))
        return connection.recv()

    result, error, trace = _exchange(child, exchange)
    if error is not None:
        raise error from _Failed(trace)
    return result


def _exchange(child: subprocess.Popen, exchange: Callable):
    try:
        return exchange()
    except (EOFError, ConnectionError):
        try:
            code = child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        killed = code is not None and code < 0
        how = f"was ended by signal {-code}, perhaps for want of memory" if killed else f"ended with code {code}"
        raise WorkerDied(
            f"a worker process of the data pipeline {how}; with fewer data.workers it needs less memory"
        ) from None


def _environment() -> dict[str, str]:
    """This process's environment and module search path; one thread for each library that would start more."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": path}
