"""Memory for the batches under way, which worker processes fill and the training process uses where it is."""

import collections
import functools
import mmap
import os
import weakref

import numpy as np

from lightclip_ms.data.batch import INDEX, PACKED, PARTS, BatchLayout

ROWS = "rows"  # int32 [1], how many rows the packed captions of a batch take
KEPT = 2  # batches whose pictures stay where they are: the network has one while it takes the next
_PICTURE_AXES = 4
_ALIGNMENT = 4096  # bytes between slots; parts begin at multiples of 64


@functools.cache
def can_be_shared() -> bool:
    """Whether this system has memory without a name that other processes can map (Linux)."""
    try:
        os.close(os.memfd_create("lightclip_ms"))
    except (AttributeError, OSError):
        return False
    return True


class BatchMemory:
    """Slots of one batch each, in memory without a name: the kernel frees it with its last process, however that ends.

    It is no file of /dev/shm, whose size containers limit to 64 MB. Pages that are used again are also faster than
    fresh ones for every batch.

    Args:
        layout: parts and sizes of a batch (`batch`).
        slots: how many.
        descriptor: memory of another process with the same layout and slots; None makes new one.

    Raises:
        OSError: the process may not have so much memory.
    """

    def __init__(self, layout: BatchLayout, slots: int, descriptor: int | None = None):
        self._fields, end = [], 0
        for name, shape in _shapes(layout).items():
            dtype = np.dtype(PARTS[name].dtype if name in PARTS else np.int32)
            start, end = end, end + dtype.itemsize * int(np.prod(shape))
            self._fields.append((name, dtype, shape, slice(start, end)))
            end = -(-end // 64) * 64
        self._size = -(-end // _ALIGNMENT) * _ALIGNMENT
        if descriptor is None and can_be_shared():
            descriptor = os.memfd_create("lightclip_ms batches")
            os.ftruncate(descriptor, slots * self._size)
        self.descriptor, self.slots = descriptor, slots
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)
        self._map = mmap.mmap(-1 if descriptor is None else descriptor, slots * self._size)
        self._free, self._taken = collections.deque(range(slots)), 0

    def take(self) -> int:
        """A slot that nobody uses. Raises IndexError if there is none."""
        slot = self._free.popleft()
        self._taken += 1
        return slot

    def give_back(self, slot: int) -> None:
        """A slot from `take` that is not handed over."""
        self._taken -= 1
        self._free.append(slot)

    def rows(self, slot: int, start: int, count: int) -> dict[str, np.ndarray]:
        """Rows of the samples of the batch in a slot, for whoever fills it."""
        arrays = self.arrays(slot)
        return {name: arrays[name][start : start + count] for name in arrays if name not in (*PACKED, ROWS)}

    def arrays(self, slot: int) -> dict[str, np.ndarray]:
        """The whole batch in a slot, packed captions with a row for each of them."""
        return self._arrays(self._bytes(slot))

    def hand_over(self, slot: int) -> dict[str, np.ndarray]:
        """The batch in a slot, which becomes free when its pictures, and all views of them, are gone.

        All else is small and copied. So are the pictures if `KEPT` batches are still used: whoever keeps many gets them
        all the same, and `KEPT` slots more than are filled at a time are enough.
        """
        flat, is_copied = self._bytes(slot), self.slots - self._taken - len(self._free) >= KEPT
        arrays = self._arrays(flat)
        if ROWS in arrays:
            used = int(arrays.pop(ROWS)[0])
            arrays |= {name: arrays[name][:used] for name in PACKED if PARTS[name].axes[0] == "R"}
        batch = {
            name: array.copy() if is_copied or array.ndim < _PICTURE_AXES else array for name, array in arrays.items()
        }
        self._taken -= 1
        if is_copied:
            self._free.append(slot)
        else:
            # NumPy makes `flat` the base of every view, so it lives as long as any of them.
            weakref.finalize(flat, self._free.append, slot).atexit = False
        return batch

    def _bytes(self, slot: int) -> np.ndarray:
        return np.frombuffer(self._map, np.uint8, self._size, slot * self._size)

    def _arrays(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        return {name: flat[place].view(dtype).reshape(shape) for name, dtype, shape, place in self._fields}


def _shapes(layout: BatchLayout) -> dict[str, tuple[int, ...]]:
    """Everything in a slot. Packed captions may take a row each."""
    shapes = {name: layout.shape(name) for name in layout.parts} | {INDEX: (layout.batch_size,)}
    if layout.packed_rows:
        shapes |= {name: layout.unpacked.shape(name) for name in PACKED} | {ROWS: (1,)}
    return shapes
