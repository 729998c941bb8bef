"""How many rows the packed captions of a run get (`data.packing`), and which batches need more."""

import dataclasses

import numpy as np

from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.packing import choose_rows
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.runtime import parallel

SAMPLED_CAPTIONS = 2048  # that tell how many rows a data set needs


class PackedRows:
    """The rows of a run: the checkpoint's, or for a new run what the data set's captions need.

    Attributes:
        rows: of each group; 0 until `fix`, or where captions are not packed.

    Args:
        data: the run's; its batches are packed from `fix` on.
        layout: of its batches before.
        say: called with a line for the log.
    """

    def __init__(self, data: TrainData, layout: BatchLayout, say):
        self.rows = 0
        self._data, self._layout, self._say = data, layout, say
        self._was_exceeded = False

    def fix(self, saved: int, steps: int, rank: int, world_size: int) -> BatchLayout:
        """Decide the rows for a run of `steps`, `saved` if it is not 0; returns the layout of packed batches.

        With more than one rank the graph for `unpacked_arrays` is to be compiled before the first step.
        """
        layout, rows = self._layout, saved
        if not rows and rank == 0:  # one reader: hundreds of ranks would each read the same samples
            lengths = self._data.sample_lengths(SAMPLED_CAPTIONS)
            if not len(lengths):
                self._say("no caption could be read to tell their lengths: each gets a row of its own")
            rows = choose_rows(
                lengths,
                layout.batch_size // layout.groups,
                layout.captions // layout.batch_size,
                layout.context_length,
                steps=steps,
                ranks=world_size,
                groups=layout.groups,
            )
        self.rows = int(parallel.gather_number(rows, world_size)[0])
        self._layout = dataclasses.replace(layout, packed_rows=self.rows)
        self._data.pack_captions(self.rows)
        self._say(
            f"packed captions: {layout.captions} in {self.rows * layout.groups} rows of {layout.context_length} tokens"
        )
        return self._layout

    def unpacked_arrays(self) -> tuple[np.ndarray, ...]:
        """An empty batch as the step takes one that does not fit."""
        layout = self._layout.unpacked
        return layout.arrays(layout.empty())

    def check(self, batch: dict, step: int) -> None:
        """Say once that a batch does not fit: it takes a second graph."""
        if self.rows and not self._was_exceeded and len(batch["packed_ids"]) != self.rows * self._layout.groups:
            self._was_exceeded = True
            self._say(
                f"step {step}: its captions need more than {self.rows} rows; such steps use a second graph, with a row "
                "per caption"
            )
