"""The same pictures and texts for every runtime."""

import numpy as np

from benchmarks.batch import make_batch

BATCHES = (1, 16)
SHORT_TEXT = 16  # tokens, beside the whole context: a caption, and the longest there is


def make_inputs(config) -> dict[str, np.ndarray]:
    """By task: `image` float32 [16, 3, S, S]; `text` int32 [16, L], full; `short text` int32 [16, 16]."""
    rng = np.random.default_rng(0)
    largest, size = max(BATCHES), config.image_size
    ids = rng.integers(1, config.vocab_size - 2, (largest, config.context_length)).astype(np.int32)
    ids[:, 0], ids[:, -1] = config.vocab_size - 2, config.vocab_size - 1
    short = make_batch(largest, 8, config.context_length, config.vocab_size)["text"][:, :SHORT_TEXT].copy()
    ended = (short == config.vocab_size - 1).any(axis=1)
    short[~ended, -1] = config.vocab_size - 1
    return {"image": rng.normal(size=(largest, 3, size, size)).astype(np.float32), "text": ids, "short text": short}


def tower_inputs(tower: str, inputs) -> dict[str, np.ndarray]:
    """Tasks of a tower by name: each input at each batch size."""
    names = [name for name in ("image", "text", "short text") if name.endswith(tower)]
    return {f"{name} {batch}": inputs[name][:batch] for name in names for batch in BATCHES}
