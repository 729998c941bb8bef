"""Masked language modelling, one head of Eq. 14-15. N captions of this rank, M mask slots per caption, V vocabulary."""

import math

from mindspore import ops

from lightclip_ms.losses.vectors import log_sum_exp, promote


def vocabulary_rows(weights, rows_per_text):
    """Indices [R] of the slots to predict, used slots first: int32, R = min(ceil(N rows_per_text), N M).

    Captions need few of their slots, and V logits are the most memory and work of a slot. The static R keeps shapes
    fixed; if there are more real slots than R, the loss is the mean over R of them.

    Args:
        weights: [N, M], 1 for a real slot and 0 for an unused one.
        rows_per_text: float, about twice what a caption has on average.
    """
    rows = min(weights.size, math.ceil(weights.shape[0] * rows_per_text))
    return ops.topk(weights.reshape(-1), rows)[1]


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
