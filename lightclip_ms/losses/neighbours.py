"""Nearest neighbours in a queue of features, the second text of DeCLIP's nearest-neighbour supervision."""

import mindspore as ms
from mindspore import ops

from lightclip_ms.losses.vectors import EXCLUDED, l2_normalize, promote


def nearest_neighbours(features, queue, filled=None):
    """Row of the queue with the largest cosine to each feature, without gradient; of equals the first.

    Args:
        features: [N, E].
        queue: [Q, E], rows 0 to `filled - 1` in use.
        filled: number of rows in use, int or int tensor of at least 1 (below that, row 0 is returned); default: all.

    Returns:
        int32 [N].

    Raises:
        ValueError: the shapes do not fit.
    """
    if features.ndim != 2 or queue.ndim != 2 or features.shape[1] != queue.shape[1]:
        raise ValueError(f"features must be [N, E] and the queue [Q, E], got {features.shape} and {queue.shape}")
    query = l2_normalize(ops.stop_gradient(promote(features)))
    keys = l2_normalize(ops.stop_gradient(promote(queue)))
    cosine = ops.matmul(query, ops.transpose(keys, (1, 0)))  # [N, Q]
    if filled is not None:
        empty = ops.arange(queue.shape[0]).astype(ms.int32) >= filled
        cosine = cosine - EXCLUDED * ops.expand_dims(empty, 0).astype(cosine.dtype)
    return ops.Argmax(axis=1, output_type=ms.int32)(cosine)
