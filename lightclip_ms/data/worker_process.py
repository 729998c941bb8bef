"""What a worker process of the input pipeline runs; `processes` starts it. It does not load MindSpore."""

import contextlib
import sys
import traceback
from multiprocessing.connection import Connection

from lightclip_ms.data.batch_memory import BatchMemory
from lightclip_ms.data.filler import Filler
from lightclip_ms.data.shared_object import attach
from lightclip_ms.data.workers import start_worker
from lightclip_ms.runtime import lifeline


def main() -> None:
    """Do what a `Filler` can until the socket, whose descriptor is the only argument, is closed."""
    start_worker()
    # The socket closes when the parent dies, unless another child of the parent has a copy of it.
    lifeline.end_with_parent()
    connection = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, ConnectionError):
        handle, layout, slots, descriptor = connection.recv()
        filler = Filler(attach(handle), layout, BatchMemory(layout, slots, descriptor))
        while True:
            method, arguments = connection.recv()
            try:
                answer = getattr(filler, method)(*arguments), None, ""
            except Exception as error:
                answer = None, error, traceback.format_exc()
            connection.send(answer)
