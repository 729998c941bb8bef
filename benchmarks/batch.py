"""A synthetic training batch as `data.pipeline` delivers it, for both frameworks."""

import numpy as np

from lightclip_ms.data.batch import LIGHTCLIP_PARTS
from lightclip_ms.data.masking import mask_tokens

WORDS = (6, 19)  # random caption lengths, 12 on average


def make_batch(batch_size: int, image_size: int, context_length: int, vocab_size: int, seed: int = 0) -> dict:
    """The parts of a `BatchLayout`, by name."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (batch_size, image_size, image_size, 3), np.uint8)
    text = np.zeros((batch_size, context_length), np.int32)
    for row, words in zip(text, rng.integers(*WORDS, batch_size)):
        words = min(words, context_length - 2)
        row[: words + 2] = [vocab_size - 2, *rng.integers(0, vocab_size - 2, words), vocab_size - 1]
    return dict(zip(LIGHTCLIP_PARTS, (image, text, *mask_tokens(text, rng, vocab_size=vocab_size))))
