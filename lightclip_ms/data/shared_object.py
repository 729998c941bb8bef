"""An object in several processes of one machine, whose arrays exist once: indices of large data sets take gigabytes."""

import io
import mmap
import os
import weakref
from multiprocessing.reduction import ForkingPickler

_ALIGNMENT = 64  # bytes


class SharedObject:
    """A copy of `value` whose arrays are in memory without a name, which worker processes map too.

    Attributes:
        handle: what another process needs to `attach`, which the descriptor must be passed on to.
        descriptor: of the memory.
    """

    def __init__(self, value):
        buffers, header = [], io.BytesIO()
        ForkingPickler(header, 5, True, lambda buffer: buffers.append(buffer.raw())).dump(value)
        self.descriptor = os.memfd_create("lightclip_ms index")
        weakref.finalize(self, os.close, self.descriptor)
        spans, end = [], 0
        with open(self.descriptor, "wb", closefd=False) as file:
            for buffer in buffers:
                file.seek(end)
                file.write(buffer)
                spans.append((end, buffer.nbytes))
                end = -(-(end + buffer.nbytes) // _ALIGNMENT) * _ALIGNMENT
        os.ftruncate(self.descriptor, max(end, 1))
        self.handle = (header.getvalue(), spans, self.descriptor)


def attach(handle):
    """The object in this process; its arrays cannot be written. Handles come from the process that started this one."""
    header, spans, descriptor = handle
    memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    return ForkingPickler.loads(header, buffers=[memory[start : start + size] for start, size in spans])
