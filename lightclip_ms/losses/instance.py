"""Progressive softened instance-level alignment, Eq. 2-9.

N rows of this rank, G columns of all ranks, E embedding size.
"""

import mindspore as ms
from mindspore import Tensor, ops

from lightclip_ms.losses.vectors import EXCLUDED, l2_normalize, log_sum_exp, positive_mask, promote, scalar_like

_NO_TARGET = 1e-30
SOURCES = ("logits", "cosine", "probs")


def label_phase(epoch, epochs, r1=0.33, r2=0.66) -> int:
    """Label kind of the zero-based `epoch` of `epochs` (Eq. 9): 0 one-hot, 1 smoothed, 2 importance-aware."""
    if epoch < r1 * epochs:
        return 0
    return 1 if epoch < r2 * epochs else 2


def soft_targets(logits, phase, delta=0.2, offset=0, source="logits"):
    """Targets of one direction, without gradient; every row sums to one.

    Args:
        logits: similarity / temperature [N, G]; with `source="cosine"` the similarity itself.
        phase: int tensor (or int) of `label_phase`; as a tensor one compiled graph serves all phases.
        delta: weight taken from the positive in phases 1 and 2.
        offset: column of row 0's positive, rank * N; row i's positive is column `offset + i`. int or int tensor.
        source: what the softmax over the negatives of phase 2 sees: "logits", "cosine" or "probs"
            (the row's probabilities, Eq. 2-3).

    Returns:
        [N, G] in the dtype of `logits` (float16 and bfloat16 in: float32 out).

    Raises:
        ValueError: `source` is unknown, or the positives do not fit the columns.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown label source {source!r}; use one of {', '.join(SOURCES)}")
    rows, columns = logits.shape
    positive = positive_mask(rows, columns, offset)
    scores = ops.stop_gradient(promote(logits))
    if columns == 1:  # no negatives to share delta: hard in every phase
        return positive.astype(scores.dtype)
    phase = Tensor(phase, ms.int32) if isinstance(phase, int) else phase
    if source == "probs":
        scores = ops.softmax(scores, -1)
    # Numbers, not tensors of scores' shape: those would be constants of the graph, and there N * G is large.
    negatives = ops.softmax(scores - EXCLUDED * positive.astype(scores.dtype), -1)  # Eq. 8
    negatives = ops.where(phase == 2, negatives, ops.ones((), dtype=scores.dtype) / (columns - 1))  # Eq. 7 or 6
    moved = ops.where(phase == 0, ops.zeros((), dtype=scores.dtype), Tensor(delta, scores.dtype))
    return ops.stop_gradient(ops.where(positive, 1.0 - moved, moved * negatives))


def instance_loss(image, text, logit_scale, phase, delta=0.2, all_image=None, all_text=None, offset=0, source="logits"):
    """Mean of the image-to-text and text-to-image cross-entropies over this rank's N rows (Eq. 2-5).

    The mean of this loss over ranks is the loss of one rank with the whole batch.

    Args:
        image, text: features of the pairs [N, E]; normalised here.
        logit_scale: 1 / temperature, a scalar tensor (already exponentiated) or a number.
        phase, delta, offset, source: see `soft_targets`.
        all_image, all_text: the same features of all ranks [G, E], rank after rank; default: this rank's.

    Returns:
        float32 scalar (float64 for float64 features).

    Raises:
        ValueError: the shapes do not fit, or `source` is unknown.
    """
    directions = _directions(image, text, logit_scale, phase, delta, all_image, all_text, offset, source)
    total = 0.0
    for logits, targets in directions:
        total = total + ops.mean(log_sum_exp(logits) - ops.sum(targets * logits, 1))  # Eq. 4, 5; targets sum to one
    return total / 2


def target_entropy(
    image, text, logit_scale, phase, delta=0.2, all_image=None, all_text=None, offset=0, source="logits"
):
    """What the targets themselves contribute to `instance_loss`, and its least possible value: their mean entropy.

    0 in phase 0; without gradient. Arguments and errors as `instance_loss`; the mean over ranks is the whole batch's.

    Returns:
        float32 scalar (float64 for float64 features).
    """
    directions = _directions(image, text, logit_scale, phase, delta, all_image, all_text, offset, source)
    total = 0.0
    for _, targets in directions:
        # -log t = log1p(1/t - 1): log1p for the reason that `log_sum_exp` gives; a target of 0 adds 0.
        total = total + ops.mean(ops.sum(targets * ops.log1p(1 / ops.maximum(targets, _NO_TARGET) - 1), 1))
    return total / 2


def _directions(image, text, logit_scale, phase, delta, all_image, all_text, offset, source):
    """((logits, targets), (logits, targets)), [N, G] each: image to text, text to image."""
    all_image = image if all_image is None else all_image
    all_text = text if all_text is None else all_text
    if image.shape != text.shape or all_image.shape != all_text.shape:
        raise ValueError(
            f"image and text features come in pairs, got {image.shape} and {text.shape}, "
            f"{all_image.shape} and {all_text.shape} of all ranks"
        )
    image, text = l2_normalize(promote(image)), l2_normalize(promote(text))
    all_image, all_text = l2_normalize(promote(all_image)), l2_normalize(promote(all_text))
    directions = ()
    for query, keys in ((image, all_text), (text, all_image)):
        cosine = ops.matmul(query, ops.transpose(keys, (1, 0)))  # [N, G]
        logits = cosine * scalar_like(logit_scale, cosine)
        targets = soft_targets(cosine if source == "cosine" else logits, phase, delta, offset, source)
        directions += ((logits, targets),)
    return directions
