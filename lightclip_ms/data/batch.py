"""The training batch: which parts it has, their dtypes and shapes, and the order in which a compiled graph takes them.

Legend: N pairs of this rank, S image side in pixels, L context length, M masked slots per caption, K
captions in R packed rows (`data.packing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lightclip_ms.data.masking import num_slots


class Part(NamedTuple):
    """One array of a batch."""

    dtype: type
    axes: str  # of the legend, N first


# Every part that a term may ask for. "image_2" and "text_2" are further views: the same pair, augmented again.
PARTS = {
    "image": Part(np.uint8, "NSS3"),
    "text": Part(np.int32, "NL"),
    "masked_text": Part(np.int32, "NL"),
    "mlm_positions": Part(np.int32, "NM"),
    "mlm_labels": Part(np.int32, "NM"),
    "mlm_weights": Part(np.float32, "NM"),  # 1 for a masked slot, 0 for an unused one
    "image_2": Part(np.uint8, "NSS3"),
    "image_3": Part(np.uint8, "NSS3"),
    "text_2": Part(np.int32, "NL"),
    "packed_ids": Part(np.int32, "RL"),
    "packed_segments": Part(np.int32, "RL"),
    "packed_positions": Part(np.int32, "RL"),
    "packed_starts": Part(np.int32, "K"),
    "packed_ends": Part(np.int32, "K"),
}
CAPTIONS = ("text", "masked_text", "text_2")  # in the order in which they are encoded, packed or not
PACKED = tuple(name for name in PARTS if name.startswith("packed_"))
MASKING = ("masked_text", "mlm_positions", "mlm_labels", "mlm_weights")
LIGHTCLIP_PARTS = ("image", "text", *MASKING)  # of the paper's objective
INDEX = "index"  # int32 [N], the samples of the batch: for messages, it stays on the host


@dataclass(frozen=True)
class BatchLayout:
    """Parts and sizes of a run's batches; all batches of a run have the same, so that its graph is compiled once.

    Args:
        batch_size, image_size, context_length, slots: N, S, L, M.
        parts: names of `PARTS` that are prepared; image and text are always there.
        packed_rows: rows of each group in which captions are packed; 0 leaves each caption its own row.
        groups: parts of the batch that go through the model one after another (`train.accumulate`).

    Raises:
        ValueError: an unknown part.
    """

    batch_size: int
    image_size: int
    context_length: int
    slots: int
    parts: tuple[str, ...] = LIGHTCLIP_PARTS
    packed_rows: int = 0
    groups: int = 1

    def __post_init__(self):
        unknown = set(self.parts) - set(PARTS)
        if unknown:
            raise ValueError(f"batch part {sorted(unknown)[0]!r} is unknown; it is one of {', '.join(PARTS)}")
        ordered = tuple(name for name in PARTS if name in self.parts or name in ("image", "text"))
        object.__setattr__(self, "parts", ordered)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The parts that the step takes, in its order: packed captions take the place of further and masked ones."""
        return step_inputs(self.parts, self.packed_rows > 0)

    @property
    def captions(self) -> int:
        """K."""
        return self.batch_size * len([name for name in CAPTIONS if name in self.parts])

    @property
    def unpacked(self) -> "BatchLayout":
        """The layout of a batch that does not fit into the packed rows: packed parts with a row for each caption."""
        return replace(self, packed_rows=self.captions // self.groups)

    def shape(self, part: str) -> tuple[int, ...]:
        """Shape of a part."""
        sizes = {"N": self.batch_size, "S": self.image_size, "L": self.context_length, "M": self.slots, "3": 3}
        sizes |= {"K": self.captions, "R": self.packed_rows * self.groups}
        return tuple(sizes[axis] for axis in PARTS[part].axes)

    def empty(self) -> dict[str, np.ndarray]:
        """A batch of zeros."""
        return {name: np.zeros(self.shape(name), PARTS[name].dtype) for name in self.inputs}

    def arrays(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """The parts of a batch in the order in which the step takes them.

        Raises:
            ValueError: a part is missing, or of another dtype or shape: the compiled graph would be another one.
        """
        for name in self.inputs:
            found = batch.get(name)
            expected = (self.shape(name), np.dtype(PARTS[name].dtype))
            # A batch that did not fit into the packed rows has one row per caption, and a graph of its own.
            is_full = (
                PARTS[name].axes == "RL" and found is not None and found.shape == (self.captions, *expected[0][1:])
            )
            if found is None or ((found.shape, found.dtype) != expected and not is_full):
                got = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
                raise ValueError(f"batch part {name}: expected {expected[1]} {list(expected[0])}, found {got}")
        return tuple(batch[name] for name in self.inputs)


def step_inputs(parts: tuple[str, ...], packed: bool) -> tuple[str, ...]:
    """What a step takes of a batch with these parts."""
    if not packed:
        return parts
    return (*(name for name in parts if name not in CAPTIONS[1:]), *PACKED)


def make_layout(config, parts: tuple[str, ...] = LIGHTCLIP_PARTS, packed_rows: int = 0) -> BatchLayout:
    """The layout for a `Config` whose terms need `parts`."""
    model = config.model
    slots = num_slots(model.context_length, config.loss.mask_ratio)
    train = config.train
    return BatchLayout(
        train.batch_size, model.image_size, model.context_length, slots, parts, packed_rows, train.accumulate
    )
