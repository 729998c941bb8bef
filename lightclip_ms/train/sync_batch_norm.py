"""Batch normalisation with the statistics of all ranks. N pairs of a rank, C channels, W ranks."""

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.runtime import parallel


class ReducedBatchNorm(nn.Cell):
    """`nn.BatchNorm2d` over the batches of all ranks, from one gather of every rank's mean and variance.

    For devices without a kernel of `nn.SyncBatchNorm`. It has the parameters of the norm it replaces, by their names.
    The gather's gradient is the sum over ranks, so gradients flow through the statistics of every rank.

    Moments are taken about the rank's own mean and combined as by Chan et al. (1979): the usual E[x^2] - mean^2 cancels
    to nothing, or to less, where a channel's mean is large against its deviation.

    Args:
        norm: the `nn.BatchNorm2d` to replace.
        rank, world_size: this rank, W.
    """

    def __init__(self, norm: nn.BatchNorm2d, rank: int, world_size: int):
        super().__init__()
        self.gamma, self.beta = norm.gamma, norm.beta
        self.moving_mean, self.moving_variance = norm.moving_mean, norm.moving_variance
        self.eps, self.keep = norm.eps, 1 - norm.momentum  # the cell holds the share of the new value
        self.world_size = world_size
        self.gather = parallel.make_gather(rank, world_size)
        self.evaluate = ops.BatchNorm(is_training=False, epsilon=self.eps)

    def construct(self, x):
        """[N, C, H, W'] of any precision; computed and returned in float32."""
        x = x.astype(ms.float32)
        if not self.training:
            return self.evaluate(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        # A constant near the mean: moments about it lose nothing, and its rounding does not matter.
        shift = ops.stop_gradient(x.mean(axes))
        centred = x - shift.reshape(shape)
        residue = centred.mean(axes)
        own = ops.stack((shift + residue, ops.square(centred).mean(axes) - ops.square(residue)))  # [2, C]
        every = self.gather(own.expand_dims(0))  # [W, 2, C]
        mean = every[:, 0].mean(0)
        variance = every[:, 1].mean(0) + ops.square(every[:, 0] - mean).mean(0)
        count = x.shape[0] * x.shape[2] * x.shape[3] * self.world_size
        self._remember(ops.stop_gradient(mean), ops.stop_gradient(variance) * (count / max(1, count - 1)))
        scale = self.gamma * ops.rsqrt(variance + self.eps)
        return (centred - (mean - shift).reshape(shape)) * scale.reshape(shape) + self.beta.reshape(shape)

    def _remember(self, mean, variance):
        ops.assign(self.moving_mean, self.keep * self.moving_mean + (1 - self.keep) * mean)
        ops.assign(self.moving_variance, self.keep * self.moving_variance + (1 - self.keep) * variance)
        return True


def _native(norm: nn.BatchNorm2d, rank: int, world_size: int) -> nn.Cell:
    """MindSpore's own, with the parameters of `norm`."""
    synced = nn.SyncBatchNorm(norm.num_features, norm.eps, 1 - norm.momentum)
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        setattr(synced, name, getattr(norm, name))
    return synced


def synchronize_batch_norm(cell: nn.Cell, rank: int, world_size: int) -> None:
    """Replace every `nn.BatchNorm2d` in the sequences of `cell` by one over all ranks; one rank needs no change."""
    if world_size == 1:
        return
    replacement = ReducedBatchNorm if ms.get_context("device_target") == "CPU" else _native
    for _, parent in list(cell.cells_and_names()):
        if isinstance(parent, nn.SequentialCell):
            for index, child in enumerate(parent):
                if isinstance(child, nn.BatchNorm2d):
                    parent[index] = replacement(child, rank, world_size)
