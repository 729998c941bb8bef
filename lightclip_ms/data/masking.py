"""Masked tokens for masked language modelling. Legend: N captions, L context length, M slots per caption."""

import math
from collections.abc import Sequence

import numpy as np


def num_slots(context_length: int, mask_ratio: float = 0.15) -> int:
    """M: slots that hold the masked words of any text of `context_length` ids."""
    return math.ceil(mask_ratio * context_length)


def most_masked(tokens: int, captions: int, mask_ratio: float = 0.15) -> int:
    """The most words that `mask_tokens` masks in `captions` captions of `tokens` ids in all, SOT and EOT included.

    A caption of m words has k <= mask_ratio * m + 1 - mask_ratio of them masked (one word; for more, rounding adds a
    half at most).
    """
    words = max(0, tokens - 2 * captions)
    return min(words, math.floor(mask_ratio * words + captions * max(0.5, 1 - mask_ratio) + 1e-6))


def mask_tokens(ids: np.ndarray, rng, *, vocab_size: int = 49408, mask_ratio: float = 0.15):
    """Mask `k = max(1, floor(mask_ratio * m + 0.5))` of the m words of each text, none if it has no words.

    Words are the ids strictly between SOT and the first EOT. As in BERT, of the chosen ones 80 % become the mask id
    (`vocab_size`), 10 % another ordinary id drawn uniformly, 10 % stay as they are; all of them are labels.

    Args:
        ids: int32 `[N, L]` of a `Tokenizer` of this vocab_size.
        rng: one numpy Generator for all captions, or a sequence of N, one per caption.

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
        raise ValueError(
            f"{len(generators)} random generators for {count} captions: give one per caption, or a single one"
        )

    slots = num_slots(length, mask_ratio)
    sot_id, eot_id, mask_id = vocab_size - 2, vocab_size - 1, vocab_size
    is_word = (np.cumsum(ids == eot_id, axis=1) == 0) & (ids != sot_id)
    words = is_word.sum(1)
    k = np.where(words, np.clip(np.floor(mask_ratio * words + 0.5), 1, slots), 0)
    draws = np.stack([generator.random(length + 2 * slots) for generator in generators]) if count else np.empty((0, 0))
    keys, fate, others = np.split(draws, (length, length + slots), axis=1)

    # The words with the k smallest keys are a uniform choice; unused slots sort behind all positions.
    ranking = np.argsort(np.where(is_word, keys, 2), axis=1)[:, :slots]
    positions = np.sort(np.where(np.arange(slots) < k[:, None], ranking, length), axis=1)
    used = positions < length
    positions = np.where(used, positions, 0).astype(np.int32)
    labels = np.where(used, np.take_along_axis(ids, positions, 1), 0).astype(np.int32)
    replaced = np.where(fate < 0.8, mask_id, np.where(fate < 0.9, (others * sot_id).astype(np.int32), labels))
    masked = ids.astype(np.int32)
    rows, columns = np.nonzero(used)
    masked[rows, positions[rows, columns]] = replaced[rows, columns]
    return masked, positions, labels, used.astype(np.float32)
