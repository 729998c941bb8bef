"""The training batch: which parts it has, their dtypes and shapes, and the order in which a compiled graph takes them.

Legend: N pairs of this rank, S image side in pixels, L context length, M masked slots per caption.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
}
MASKING = ("masked_text", "mlm_positions", "mlm_labels", "mlm_weights")
LIGHTCLIP_PARTS = ("image", "text", *MASKING)  # of the paper's objective
INDEX = "index"  # int32 [N], the samples of the batch: for messages, it stays on the host


@dataclass(frozen=True)
class BatchLayout:
    """Parts and sizes of a run's batches; all batches of a run have the same, so that its graph is compiled once.

    Args:
        batch_size, image_size, context_length, slots: N, S, L, M.
        parts: names of `PARTS`; image and text are always there.

    Raises:
        ValueError: an unknown part.
    """

    batch_size: int
    image_size: int
    context_length: int
    slots: int
    parts: tuple[str, ...] = LIGHTCLIP_PARTS

    def __post_init__(self):
        unknown = set(self.parts) - set(PARTS)
        if unknown:
            raise ValueError(f"batch part {sorted(unknown)[0]!r} is unknown; it is one of {', '.join(PARTS)}")
        ordered = tuple(name for name in PARTS if name in self.parts or name in ("image", "text"))
        object.__setattr__(self, "parts", ordered)

    def shape(self, part: str) -> tuple[int, ...]:
        """Shape of a part."""
        sizes = {"N": self.batch_size, "S": self.image_size, "L": self.context_length, "M": self.slots, "3": 3}
        return tuple(sizes[axis] for axis in PARTS[part].axes)

    def empty(self) -> dict[str, np.ndarray]:
        """A batch of zeros."""
        return {name: np.zeros(self.shape(name), PARTS[name].dtype) for name in self.parts}

    def arrays(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """The parts of a batch in the order in which the step takes them.

        Raises:
            ValueError: a part is missing, or of another dtype or shape: the compiled graph would be another one.
        """
        for name in self.parts:
            found = batch.get(name)
            expected = (self.shape(name), np.dtype(PARTS[name].dtype))
            if found is None or (found.shape, found.dtype) != expected:
                got = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
                raise ValueError(f"batch part {name}: expected {expected[1]} {list(expected[0])}, found {got}")
        return tuple(batch[name] for name in self.parts)


def make_layout(config, parts: tuple[str, ...] = LIGHTCLIP_PARTS) -> BatchLayout:
    """The layout for a `Config` whose terms need `parts`."""
    model = config.model
    slots = num_slots(model.context_length, config.loss.mask_ratio)
    return BatchLayout(config.train.batch_size, model.image_size, model.context_length, slots, parts)
