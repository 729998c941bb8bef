"""Self-supervision without negatives: SimSiam (Chen and He 2021, Eq. 1-3), as DeCLIP uses it. N pictures, D width."""

from mindspore import ops

from lightclip_ms.losses.vectors import l2_normalize, promote


def simsiam_loss(predicted, projected):
    """Negative mean cosine between one view's prediction and the other's projection; call it both ways and average.

    Args:
        predicted: [N, D], the predictor's output for one view.
        projected: [N, D], the projector's output for the other view. It gets no gradient: without that stop both
            views would collapse to one point.

    Returns:
        float32 scalar in [-1, 1] (float64 for float64 inputs). The mean over ranks is the whole batch's.

    Raises:
        ValueError: the shapes do not fit.
    """
    if predicted.shape != projected.shape or predicted.ndim != 2:
        raise ValueError(f"prediction and projection must both be [N, D], got {predicted.shape} and {projected.shape}")
    target = l2_normalize(ops.stop_gradient(promote(projected)))
    return -ops.mean(ops.sum(l2_normalize(promote(predicted)) * target, 1))
