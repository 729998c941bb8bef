"""What is done with the inputs of each kind: `use` returns when one is accepted, and raises to refuse it.

ValueError and OSError are refusals: scripts turn them into one line and exit code 2. Anything else escapes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.transforms import TrainTransform, eval_transform
from tests.fuzz import make_pictures


class Kind(NamedTuple):
    """`make(rng, empty folder)` builds an input, always the same from equal generators; `use` gets what it returns."""

    make: Callable[[np.random.Generator, Path], Any]
    use: Callable[[Any], None]


def use_picture(data: bytes) -> None:
    """Train and evaluation transforms: finite values of one shape, and a reason of one short line."""
    try:
        assert TrainTransform(64, AugmentConfig()).pixels(data, np.random.default_rng(0)).shape == (64, 64, 3)
        pixels = eval_transform(64)(data)
        assert pixels.shape == (3, 64, 64) and np.isfinite(pixels).all()
    except ValueError as error:
        assert len(str(error)) < 300 and "\n" not in str(error), f"no short line: {error}"
        raise


KINDS: dict[str, Kind] = {
    "pictures": Kind(make_pictures.make, use_picture),
}
