"""What all terms compare with the features of other ranks, gathered in one collective.

N pairs on this rank, G on all ranks.
"""

from mindspore import dtype as mstype
from mindspore import nn, ops
from mindspore.ops import auto_generate

from lightclip_ms.runtime import parallel


class JoinedGather(nn.Cell):
    """Tuples of arrays [N, ...] of this rank -> the same of all ranks, float32 [G, ...]; one rank keeps its own.

    Args:
        rank, world_size: of this process and of the job.
    """

    def __init__(self, rank: int, world_size: int):
        super().__init__()
        self.world_size = world_size
        self.gather = parallel.make_gather(rank, world_size)

    def construct(self, groups):
        if self.world_size == 1:  # decided when the graph is built
            return groups
        # Latency decides at this size, so everything travels in one message.
        flat = ()
        for arrays in groups:
            for array in arrays:
                flat += (array.astype(mstype.float32).reshape(array.shape[0], -1),)
        if not flat:
            return groups
        return split_columns(self.gather(ops.concat(flat, 1)), groups)


def split_columns(joined, groups):
    """Cut float32 [G, widths of all] into tuples of arrays [G, ...] with the inner shapes of those in `groups`."""
    widths = ()
    for arrays in groups:
        for array in arrays:
            widths += (array.size // array.shape[0],)
    # One operator, whose gradient is one as well: that of every slice would be an array of the whole width.
    pieces = auto_generate.SplitWithSize()(joined, widths, 1)
    everyone, index = (), 0
    for arrays in groups:
        gathered = ()
        for array in arrays:
            gathered += (pieces[index].reshape((-1,) + array.shape[1:]),)
            index += 1
        everyone += (gathered,)
    return everyone
