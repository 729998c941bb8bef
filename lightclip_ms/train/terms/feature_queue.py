"""The newest features of all ranks, in a ring of fixed size. N rows of this rank, G of all ranks, Q size, E width."""

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from lightclip_ms import losses


class FeatureQueue(nn.Cell):
    """The last Q features that were put in, first in, first out.

    Its arrays are parameters without gradient: in training checkpoints, so that a run resumes exactly, and, as part of
    a term, in no exported model. All ranks put the same gathered features in, so it is the same on all of them.

    Args:
        size, width: Q, E.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        self.size = size
        self.rows = Parameter(ops.zeros((size, width), ms.float32), "rows", requires_grad=False)
        self.filled = Parameter(Tensor([0], ms.int32), "filled", requires_grad=False)  # rows in use
        self.next = Parameter(Tensor([0], ms.int32), "next", requires_grad=False)  # the row to be written next

    def nearest(self, features):
        """The most similar of its features for each of [N, E], without gradient; zeros while it is empty."""
        places = losses.nearest_neighbours(features, self.rows, self.filled)
        return ops.stop_gradient(ops.gather(self.rows, places, 0))

    def construct(self, features):
        """Put in float32 [G, E], of which the last are the newest; beyond Q the oldest are dropped."""
        newest = ops.stop_gradient(features)[-self.size :]
        count = newest.shape[0]
        places = self._within(self.next + ops.arange(count).astype(ms.int32))
        ops.scatter_update(self.rows, places, newest)
        ops.assign(self.next, self._within(self.next + count))
        ops.assign(self.filled, ops.minimum(self.filled + count, self.size))
        return True

    def _within(self, places):
        """Places in [0, 2 Q) of the endless row of features as places of the ring."""
        return places - self.size * (places >= self.size).astype(ms.int32)
