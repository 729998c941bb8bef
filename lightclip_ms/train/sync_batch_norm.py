"""Batch normalisation with the statistics of all cards. C channels, W cards."""

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.runtime import parallel


class ReducedBatchNorm(nn.Cell):
    """`nn.BatchNorm2d` over the batches of all cards, from `AllReduce` of mean and mean square.

    For devices without a kernel of `nn.SyncBatchNorm`. It has the parameters of the norm it replaces, under their
    names. The gradient of the reduction is the sum over cards, so statistics are differentiated through on every
    card.

    Args:
        norm: the `nn.BatchNorm2d` to replace.
        world_size: W.
    """

    def __init__(self, norm: nn.BatchNorm2d, world_size: int):
        super().__init__()
        self.gamma, self.beta = norm.gamma, norm.beta
        self.moving_mean, self.moving_variance = norm.moving_mean, norm.moving_variance
        self.eps, self.keep = norm.eps, 1 - norm.momentum  # the cell holds the share of the new value
        self.world_size = world_size
        self.sum_over_cards = parallel.Sum(world_size)
        self.evaluate = ops.BatchNorm(is_training=False, epsilon=self.eps)

    def construct(self, x):
        """[N, C, H, W'] of any precision; computed and returned in float32."""
        x = x.astype(ms.float32)
        if not self.training:
            return self.evaluate(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        moments = ops.stack((x.mean((0, 2, 3)), ops.square(x).mean((0, 2, 3))))
        moments = self.sum_over_cards(moments) / self.world_size  # [2, C]
        mean, variance = moments[0], moments[1] - ops.square(moments[0])
        count = x.shape[0] * x.shape[2] * x.shape[3] * self.world_size
        self._remember(ops.stop_gradient(mean), ops.stop_gradient(variance) * (count / max(1, count - 1)))
        scale = self.gamma * ops.rsqrt(variance + self.eps)
        shape = (1, -1, 1, 1)
        return (x - mean.reshape(shape)) * scale.reshape(shape) + self.beta.reshape(shape)

    def _remember(self, mean, variance):
        ops.assign(self.moving_mean, self.keep * self.moving_mean + (1 - self.keep) * mean)
        ops.assign(self.moving_variance, self.keep * self.moving_variance + (1 - self.keep) * variance)
        return True


def _native(norm: nn.BatchNorm2d, world_size: int) -> nn.Cell:
    """MindSpore's own, with the parameters of `norm`."""
    synced = nn.SyncBatchNorm(norm.num_features, norm.eps, 1 - norm.momentum)
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        setattr(synced, name, getattr(norm, name))
    return synced


def synchronize_batch_norm(cell: nn.Cell, world_size: int) -> None:
    """Replace every `nn.BatchNorm2d` in the sequences of `cell` by one over all cards; one card needs no change."""
    if world_size == 1:
        return
    replacement = ReducedBatchNorm if ms.get_context("device_target") == "CPU" else _native
    for _, parent in list(cell.cells_and_names()):
        if isinstance(parent, nn.SequentialCell):
            for index, child in enumerate(parent):
                if isinstance(child, nn.BatchNorm2d):
                    parent[index] = replacement(child, world_size)
