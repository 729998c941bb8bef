"""Tensors of a source from its names and shapes alone: the same numbers wherever numpy runs."""

import numpy as np


def random_tensors(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """float32 tensors, sized so that activations neither vanish nor grow; integer buffers are zero."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        if name.endswith(("num_batches_tracked", "relative_position_index")):
            tensors[name] = np.zeros(shape, np.int64)
        elif name.endswith("running_var"):
            tensors[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) == 1 and name.endswith("weight"):
            tensors[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            deviation = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
            tensors[name] = np.asarray(deviation * rng.standard_normal(shape), np.float32)
    return tensors


def random_map(count: int, channels: int, size: int) -> np.ndarray:
    """float32 [count, channels, size, size]."""
    return np.random.default_rng(1).standard_normal((count, channels, size, size)).astype(np.float32)


def random_pictures(count: int, size: int) -> np.ndarray:
    """float32 [count, 3, size, size]."""
    return random_map(count, 3, size)


def random_captions(count: int, length: int, vocabulary: int) -> np.ndarray:
    """int32 [count, length]: start, words, end at different places, zeros."""
    rng = np.random.default_rng(2)
    ids = np.zeros((count, length), np.int32)
    for row in range(count):
        end = 3 + 2 * row
        ids[row, 1:end] = rng.integers(1, vocabulary - 2, end - 1)
        ids[row, 0], ids[row, end] = vocabulary - 2, vocabulary - 1
    return ids
