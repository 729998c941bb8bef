"""What a worker process of the input pipeline runs; `processes` starts it. It does not load MindSpore."""

import contextlib
import sys
import traceback
from multiprocessing.connection import Connection

from lightclip_ms.data.batch_memory import BatchMemory
from lightclip_ms.data.shared_object import attach
from lightclip_ms.data.workers import start_worker
from lightclip_ms.runtime import lifeline


def main() -> None:
    """Fill chunks of batches until the socket, whose descriptor is the only argument, is closed."""
    start_worker()
    # The socket closes when the parent dies, unless another child of the parent has a copy of it.
    lifeline.end_with_parent()
    connection = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, ConnectionError):
        handle, layout, slots, descriptor = connection.recv()
        samples, memory = attach(handle), BatchMemory(layout, slots, descriptor)
        while True:
            slot, start, indices, epoch = connection.recv()
            try:
                answer = samples.fill(memory.rows(slot, start, len(indices)), indices, epoch), None, ""
            except Exception as error:
                answer = None, error, traceback.format_exc()
            connection.send(answer)
