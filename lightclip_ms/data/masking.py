"""Masked words for masked language modelling. Legend: N texts, L context length, M slots a text."""
import math
from collections.abc import Sequence

import numpy as np


def num_slots(context_length: int, mask_ratio: float = 0.15) -> int:
    """M: slots that hold the masked words of any text of `context_length` ids."""
    return math.ceil(mask_ratio * context_length)


def mask_tokens(ids: np.ndarray, rng, *, vocab_size: int = 49408, mask_ratio: float = 0.15):
    """Mask `k = max(1, floor(mask_ratio * m + 0.5))` of the m words of each text, none if it has no words.

    Words are the ids strictly between SOT and the first EOT. As in BERT, of the chosen ones 80 % become the mask id
    (`vocab_size`), 10 % another ordinary id drawn uniformly, 10 % stay as they are; all of them are labels.

    Args:
        ids: int32 `[N, L]` of a `Tokenizer` of this vocab_size.
        rng: one numpy Generator for all texts, or a sequence of N, one a text.

    Returns:
        masked_ids: int32 `[N, L]`.
        positions: int32 `[N, M]`, ascending positions of the chosen words; unused slots hold 0.
        labels: int32 `[N, M]`, the ids that stood there; unused slots hold 0.
        weights: float32 `[N, M]`, 1 for a chosen word, 0 for an unused slot.

    Raises:
        ValueError: `mask_ratio` outside (0, 1], or a sequence of generators of another length than N.
    """
    if not 0 < mask_ratio <= 1:
        raise ValueError(f"mask_ratio must be above 0 and at most 1, got {mask_ratio}")
    count, length = ids.shape
    generators = rng if isinstance(rng, Sequence) else [rng] * count
    if len(generators) != count:
        raise ValueError(f"{len(generators)} random generators for {count} texts: give one a text, or a single one")

    slots = num_slots(length, mask_ratio)
    masked = ids.astype(np.int32)
    positions = np.zeros((count, slots), np.int32)
    labels = np.zeros((count, slots), np.int32)
    weights = np.zeros((count, slots), np.float32)
    sot_id, eot_id, mask_id = vocab_size - 2, vocab_size - 1, vocab_size
    is_word = (np.cumsum(ids == eot_id, axis=1) == 0) & (ids != sot_id)
    for row, generator in enumerate(generators):
        words = np.flatnonzero(is_word[row])
        if not len(words):
            continue
        k = min(slots, max(1, math.floor(mask_ratio * len(words) + 0.5)))
        # One permutation and one draw: numpy's choice and integers cost several times as much for a few numbers.
        chosen = np.sort(generator.permutation(words)[:k])
        fate, others = generator.random((2, k))
        positions[row, :k] = chosen
        labels[row, :k] = ids[row, chosen]
        weights[row, :k] = 1
        replaced = np.where(fate < 0.9, (others * sot_id).astype(np.int32), labels[row, :k])
        masked[row, chosen] = np.where(fate < 0.8, mask_id, replaced)
    return masked, positions, labels, weights
