"""Self-supervision between two views of a picture: NT-Xent of SimCLR (Chen et al. 2020, Eq. 1), as SLIP uses it.

N pictures on this rank, G on all ranks, D width of the projections.
"""

from mindspore import ops

from lightclip_ms.losses.vectors import (
    EXCLUDED,
    l2_normalize,
    negative_log_likelihood,
    positive_mask,
    promote,
    scalar_like,
)


def simclr_loss(first, second, temperature=0.1, all_first=None, all_second=None, offset=0):
    """Mean cross-entropy of the 2N views on this rank; the other view of the same picture is the positive.

    The keys of a view are both views of all pictures without the view itself. The mean over ranks of this loss is the
    loss of one rank with the whole batch.

    Args:
        first, second: projections of the two views [N, D]; normalised here.
        temperature: a number or a scalar tensor.
        all_first, all_second: the same of all ranks [G, D], rank after rank; default: this rank's.
        offset: column of row 0 in `all_first`, rank * N; int or int tensor.

    Returns:
        float32 scalar (float64 for float64 projections); 0 for a single picture, which has no negatives.

    Raises:
        ValueError: the shapes do not fit.
    """
    all_first = first if all_first is None else all_first
    all_second = second if all_second is None else all_second
    if first.shape != second.shape or all_first.shape != all_second.shape or first.ndim != 2:
        raise ValueError(
            f"the two views come in pairs [N, D], got {first.shape} and {second.shape}, "
            f"{all_first.shape} and {all_second.shape} of all ranks"
        )
    first, second = l2_normalize(promote(first)), l2_normalize(promote(second))
    all_first, all_second = l2_normalize(promote(all_first)), l2_normalize(promote(all_second))
    own = positive_mask(first.shape[0], all_first.shape[0], offset)
    from_first = _direction(first, all_second, all_first, temperature, own)
    from_second = _direction(second, all_first, all_second, temperature, own)
    return (from_first + from_second) / 2


def _direction(query, other, same, temperature, own):
    """Cross-entropy of `query` [N, D] over the other views and the same views [G, D]; `own` marks its picture."""
    keys = ops.cat((other, same))  # [2G, D]
    cosine = ops.matmul(query, ops.transpose(keys, (1, 0)))
    no_one = ops.zeros_like(own)
    itself = ops.cat((no_one, own), 1)
    logits = cosine / scalar_like(temperature, cosine) - EXCLUDED * itself.astype(cosine.dtype)
    return ops.mean(negative_log_likelihood(logits, ops.cat((own, no_one), 1)))
