"""Masked language modelling, one head of Eq. 14-15. N texts on this card, M mask slots a text, V vocabulary."""
from mindspore import ops

from lightclip_ms.losses.vectors import log_sum_exp, promote


def mlm_loss(logits, labels, weights):
    """Mean cross-entropy over the real slots; 0 without a real slot.

    Args:
        logits: [N, M, V].
        labels: int32 [N, M], in [0, V).
        weights: [N, M], 1 for a real slot and 0 for an unused one.

    Returns:
        float32 scalar (float64 for float64 logits). Over cards: multiply by `card_weight` of the real slots.

    Raises:
        ValueError: the shapes do not fit.
    """
    if logits.shape[:2] != labels.shape or labels.shape != weights.shape:
        raise ValueError(f"logits must be [N, M, V] with labels and weights [N, M], got {logits.shape}, "
                         f"{labels.shape} and {weights.shape}")
    scores = promote(logits).reshape(-1, logits.shape[-1])  # [N*M, V]
    weights = weights.reshape(-1).astype(scores.dtype)
    labelled = ops.gather_elements(scores, 1, labels.reshape(-1, 1)).reshape(-1)
    return ops.sum((log_sum_exp(scores) - labelled) * weights) / ops.maximum(ops.sum(weights), 1)


def card_weight(count, total, cards):
    """Factor that makes the mean over cards of per-card means the mean over all samples: cards * count / total.

    Args:
        count: what this card's mean divided by (real slots, texts with a word, ...), scalar tensor.
        total: the sum of `count` over all cards, scalar tensor.
        cards: their number.
    """
    return cards * count / ops.maximum(total, 1)
