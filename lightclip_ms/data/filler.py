"""What a worker does to a batch in its memory: fill a chunk of it, and pack its captions once it is filled."""

import numpy as np

from lightclip_ms.data.batch import CAPTIONS, BatchLayout
from lightclip_ms.data.batch_memory import ROWS, BatchMemory
from lightclip_ms.data.packing import pack_groups
from lightclip_ms.data.samples import Samples, Unusable


class Filler:
    """Works on the slots of a memory.

    Args:
        samples: what makes the samples.
        layout: parts and sizes of a batch.
        memory: of the same layout.
    """

    def __init__(self, samples: Samples, layout: BatchLayout, memory: BatchMemory):
        self._samples, self._layout, self._memory = samples, layout, memory

    def fill(self, slot: int, start: int, indices: np.ndarray, epoch: int) -> list[Unusable]:
        """Write the samples `indices` to the rows from `start` on; returns and raises what `Samples.fill` does."""
        return self._samples.fill(self._memory.rows(slot, start, len(indices)), indices, epoch)

    def pack(self, slot: int) -> None:
        """Pack the captions of a batch whose chunks are all filled, and note how many rows they take."""
        arrays = self._memory.arrays(slot)
        captions = [arrays[name] for name in CAPTIONS if name in arrays]
        packed = pack_groups(captions, self._samples.eot_id, self._layout.packed_rows, self._layout.groups)
        for name, values in packed.items():
            arrays[name][: len(values)] = values
        arrays[ROWS][:] = len(packed["packed_ids"])
