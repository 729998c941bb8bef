"""Progressive softened instance-level alignment, Eq. 2-9.

N rows of this rank, G columns of all ranks, E embedding size.
"""

import mindspore as ms
from mindspore import Tensor, ops

from lightclip_ms.losses.vectors import EXCLUDED, l2_normalize, positive_mask, promote, row_max, scalar_like, softplus

_TINY = 1e-30
_LEAST_MISSED = 1e-20  # a share of the softmax that is as good as 0
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
    _check_source(source)
    rows, columns = logits.shape
    positive = positive_mask(rows, columns, offset)
    scores = ops.stop_gradient(promote(logits))
    if columns == 1:  # no negatives to share delta: hard in every phase
        return positive.astype(scores.dtype)
    to_all, to_similar = _moved(phase, delta, scores.dtype)
    shares, _ = _negatives(ops.softmax(scores, -1) if source == "probs" else scores, positive)  # Eq. 8
    negatives = to_similar * shares + to_all / (columns - 1)  # Eq. 8 or 7
    return ops.stop_gradient(ops.where(positive, 1 - to_all - to_similar, negatives))


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
    features = _normalized(image, text, all_image, all_text, offset)
    return _both_directions(*features, logit_scale, phase, delta, offset, source)[0]


def target_entropy(
    image, text, logit_scale, phase, delta=0.2, all_image=None, all_text=None, offset=0, source="logits"
):
    """What the targets themselves contribute to `instance_loss`, and its least possible value: their mean entropy.

    0 in phase 0; without gradient. Arguments and errors as `instance_loss`; the mean over ranks is the whole batch's.

    Returns:
        float32 scalar (float64 for float64 features).
    """
    features = _normalized(image, text, all_image, all_text, offset)
    return _both_directions(*features, logit_scale, phase, delta, offset, source)[1]


def normalized_instance_loss(
    image, text, all_image, all_text, logit_scale, phase, delta=0.2, offset=0, source="logits"
):
    """(`instance_loss`, `target_entropy`) of float32 or float64 features of length one, for a training step.

    Features are best normalised before they are gathered, as there are more of them behind. The positives are `image`
    and `text` themselves: their part of the gradient goes there and not to the same rows of `all_image` and `all_text`,
    so that no array [G, E] holds it. Behind a gather, whose gradient adds both, that is the same.
    """
    return _both_directions(image, text, text, image, all_image, all_text, logit_scale, phase, delta, offset, source)


def _both_directions(image, text, own_text, own_image, all_image, all_text, logit_scale, phase, delta, offset, source):
    """(loss, entropy of the targets); `own_text` and `own_image` [N, E] are the positives of `image` and `text`."""
    _check_source(source)
    rows, columns = image.shape[0], all_image.shape[0]
    positive = positive_mask(rows, columns, offset)
    if columns == 1:  # no negatives, nothing to tell apart
        return ops.zeros((), dtype=image.dtype), ops.zeros((), dtype=image.dtype)
    to_all, to_similar = _moved(phase, delta, image.dtype)
    logit_scale = scalar_like(logit_scale, image)
    loss, alike = 0.0, 0.0
    for query, own, keys in ((image, own_text, all_text), (text, own_image, all_image)):
        query = query * logit_scale  # here, as [N, E] is smaller than [N, G]
        direction = _direction(query, own, keys, positive, to_all, to_similar, logit_scale, source)
        loss, alike = loss + ops.mean(direction[0]), alike + ops.mean(direction[1])
    # Of the targets: between the positive and all negatives, then among these.
    split = ops.stack((to_all + to_similar, 1 - to_all - to_similar))
    among_all = ops.log1p(scalar_like(columns - 2.0, image))
    entropy = ops.sum(split * _minus_log(split)) + to_all * among_all + to_similar * alike / 2
    return loss / 2, ops.stop_gradient(entropy)


def _direction(query, own, keys, positive, to_all, to_similar, logit_scale, source):
    """Losses of the rows [N], and the entropy of each row's similar negatives [N].

    At hundreds of ranks [N, G] is the largest array of a step, so the targets are never made: a row's loss and gradient
    need sums over its columns only. With z+ the logit of the positive, z- the others, n their softmax, t the softmax of
    Eq. 8 (n, by default) and a, b what the targets move to all negatives alike and to similar ones, Eq. 4 and 5 are

        loss = log(1 + exp(m)) + a (z+ - mean of z-) + b (z+ - sum of t z-),   m = log sum exp z- - z+

    n and t have no gradient: that of the targets is stopped, and the one of log sum exp z- is the sum of n dz-. A sum
    over columns with fixed weights w is `query` times w `keys`, whose plain gradient makes no array [N, G].

    Args:
        query: [N, E], scaled. own: the positives [N, E]. keys: [G, E]. positive: bool [N, G].
        to_all, to_similar: a and b, scalar tensors of which one is 0.
    """
    columns = keys.shape[0]
    logits = ops.stop_gradient(ops.MatMul(transpose_b=True)(query, keys))  # [N, G], Eq. 2, 3
    shares, log_sum = _negatives(logits, positive)
    at_positive = ops.sum(query * own, 1)
    margin = log_sum - ops.stop_gradient(at_positive)
    missed = ops.maximum(ops.sigmoid(margin), _LEAST_MISSED)  # 1 minus the positive's probability
    # The sum over all columns alike has its gradient by these weights, too: it needs no array of its own.
    each = to_all / (columns - 1)
    similar = _weighted_sum(query, shares - ops.expand_dims(each / missed, 1), keys)
    slope = missed * (similar - at_positive)
    spread = each * (columns * at_positive - ops.sum(logits, 1))  # z+ minus the mean of z-, times a
    scores_sum, alike = log_sum, similar
    if source == "cosine":
        shares, scores_sum = _negatives(logits / ops.stop_gradient(logit_scale), positive)
        similar = _weighted_sum(query, shares, keys)
        alike = similar / logit_scale
    elif source == "probs":
        scores = ops.softmax(logits, -1)
        shares, scores_sum = _negatives(scores, positive)
        similar = _weighted_sum(query, shares, keys)
        alike = ops.sum(shares * scores, 1)
    losses = softplus(margin) + slope - ops.stop_gradient(slope) + spread + to_similar * (at_positive - similar)
    return losses, scores_sum - alike


def _weighted_sum(query, weights, keys):
    """Sum over columns of fixed weights [N, G] times `query` `keys`^T: [N]."""
    return ops.sum(query * ops.MatMul()(ops.stop_gradient(weights), keys), 1)


def _negatives(scores, positive):
    """Softmax of every row over its negatives, 0 at its positive, and the log of the sum of their exp: [N, G], [N]."""
    # Numbers, not tensors of scores' shape: those would be constants of the graph, and there N * G is large.
    scores = ops.where(positive, ops.full((), -EXCLUDED, dtype=scores.dtype), scores)
    shares = ops.softmax(scores, -1)
    # A share is exp(score) / sum, so any column tells the sum; the largest does so best.
    return shares, row_max(scores) + _minus_log(row_max(shares))


def _minus_log(shares):
    """-log of shares in [0, 1], and a number for 0; log1p for the reason that `log_sum_exp` gives."""
    return ops.log1p(1 / ops.maximum(shares, _TINY) - 1)


def _moved(phase, delta, dtype):
    """Weight that the targets take from the positive: for all negatives alike, and by similarity; two scalars."""
    phase = Tensor(phase, ms.int32) if isinstance(phase, int) else phase
    delta, zero = Tensor(delta, dtype), ops.zeros((), dtype=dtype)
    return ops.where(phase == 1, delta, zero), ops.where(phase == 2, delta, zero)


def _normalized(image, text, all_image, all_text, offset):
    """Arguments of `_both_directions`, of length one."""
    all_image = image if all_image is None else all_image
    all_text = text if all_text is None else all_text
    if image.shape != text.shape or all_image.shape != all_text.shape:
        raise ValueError(
            f"image and text features come in pairs, got {image.shape} and {text.shape}, "
            f"{all_image.shape} and {all_text.shape} of all ranks"
        )
    image, text = l2_normalize(promote(image)), l2_normalize(promote(text))
    all_image, all_text = l2_normalize(promote(all_image)), l2_normalize(promote(all_text))
    places = ops.arange(image.shape[0]).astype(ms.int32) + offset
    return image, text, ops.gather(all_text, places, 0), ops.gather(all_image, places, 0), all_image, all_text


def _check_source(source):
    if source not in SOURCES:
        raise ValueError(f"unknown label source {source!r}; use one of {', '.join(SOURCES)}")
