"""Masked language modelling, one head of Eq. 14-15. N captions of this rank, M mask slots per caption, V vocabulary."""

import mindspore as ms
from mindspore import ops

from lightclip_ms.losses.vectors import log_sum_exp, promote


def vocabulary_rows(weights, count):
    """Indices [R] of the slots to predict, int32, R = min(count, N M): slot 0 of every caption, then slot 1, and so on.

    Captions need few of their slots, and V logits are the most memory and work of a slot. The static R keeps shapes
    fixed. Used slots come before unused ones; if there are more of them than R, every caption keeps its first ones, and
    no caption more than one beyond another that has more.

    Args:
        weights: [N, M], 1 for a used slot and 0 for an unused one.
        count: int, at least 1.
    """
    captions, slots = weights.shape
    # Distinct ranks, so that no order of ties decides: below 0 for unused slots, above for used ones.
    first = ops.expand_dims(ops.arange(captions).astype(ms.int32), 1)
    place = ops.arange(slots).astype(ms.int32) * captions + first
    rank = weights.astype(ms.float32) * weights.size - place.astype(ms.float32)
    return ops.topk(rank.reshape(-1), min(weights.size, count))[1]


def mlm_loss(logits, labels, weights):
    """Mean cross-entropy over the real slots; 0 without a real slot.

    Args:
        logits: [..., V]: of [R, V] chosen slots, or of all [N, M, V].
        labels: int32 [...], in [0, V).
        weights: [...], 1 for a real slot and 0 for an unused one.

    Returns:
        float32 scalar (float64 for float64 logits). Over ranks: multiply by `rank_weight` of the real slots.

    Raises:
        ValueError: the shapes do not fit.
    """
    if logits.shape[:-1] != labels.shape or labels.shape != weights.shape:
        raise ValueError(
            f"logits must be [..., V] with labels and weights [...], got {logits.shape}, {labels.shape} and "
            f"{weights.shape}"
        )
    scores = promote(logits).reshape(-1, logits.shape[-1])
    weights = weights.reshape(-1).astype(scores.dtype)
    labelled = ops.gather_elements(scores, 1, labels.reshape(-1, 1)).reshape(-1)
    return ops.sum((log_sum_exp(scores) - labelled) * weights) / ops.maximum(ops.sum(weights), 1)


def rank_weight(count, total, ranks):
    """Factor that makes the mean over ranks of per-rank means the mean over all samples: ranks * count / total.

    Args:
        count: what this rank's mean divided by (real slots, captions with a token, ...), scalar tensor.
        total: the sum of `count` over all ranks, scalar tensor.
        ranks: their number.
    """
    return ranks * count / ops.maximum(total, 1)
