"""Data parallelism: the only owner of collectives. With one rank every function is the identity.

W ranks, N pairs per rank, G = W * N. The convention everywhere: a rank's loss is scaled so that the *mean over ranks*
of losses and gradients is that of one rank with the whole batch.
"""

import os

import mindspore as ms
import numpy as np
from mindspore import communication, nn, ops

from lightclip_ms.runtime import lifeline
from lightclip_ms.runtime.cluster_variables import drop_leftovers

FUSION_MEGABYTES = 32  # large enough to fill the link, small enough to overlap with the backward pass


def init() -> tuple[int, int]:
    """Join the job `msrun` started, if any; returns (rank, world size). The process now ends with its launcher."""
    lifeline.follow_launcher()
    drop_leftovers()
    if "MS_ROLE" not in os.environ:
        return 0, 1
    if not communication.GlobalComm.INITED:
        communication.init()
    rank, world_size = communication.get_rank(), communication.get_group_size()
    if world_size > 1:
        ms.set_auto_parallel_context(
            parallel_mode="data_parallel",
            gradients_mean=True,
            device_num=world_size,
            comm_fusion={"allreduce": {"mode": "size", "config": FUSION_MEGABYTES}},
        )
        # Connect now, while all ranks are here: later they are as far apart as their reading of data takes.
        wait_for_all(world_size)
    return rank, world_size


class Gather(nn.Cell):
    """Rows of every rank in rank order, `[N, D] -> [G, D]`; the gradient of a row is summed over all ranks.

    `AllGather` differentiates into `ReduceScatter`, which has no CPU kernel: there the backward pass is an
    `AllReduce` and a slice, the same sum.
    """

    def __init__(self, rank: int, world_size: int):
        super().__init__()
        self.rank = rank
        self.world_size = world_size
        self.all_gather = ops.AllGather() if world_size > 1 else None

    def construct(self, rows):
        if self.world_size == 1:
            return rows
        return self.all_gather(rows)


class _CpuGather(Gather):
    def __init__(self, rank: int, world_size: int):
        super().__init__(rank, world_size)
        self.all_reduce = ops.AllReduce()

    def bprop(self, rows, out, grad):
        count = rows.shape[0]
        return (self.all_reduce(grad)[self.rank * count : (self.rank + 1) * count],)


def make_gather(rank: int, world_size: int) -> Gather:
    """The gather whose backward pass the current device has kernels for."""
    on_cpu = world_size > 1 and ms.get_context("device_target") == "CPU"
    return (_CpuGather if on_cpu else Gather)(rank, world_size)


def make_grad_reducer(parameters, world_size: int):
    """MindSpore's own mean of gradients over ranks, fused by the executor into `FUSION_MEGABYTES` buckets."""
    return nn.DistributedGradReducer(parameters) if world_size > 1 else nn.Identity()


class Sum(nn.Cell):
    """Sum of one small tensor over all ranks."""

    def __init__(self, world_size: int):
        super().__init__()
        self.world_size = world_size
        self.all_reduce = ops.AllReduce() if world_size > 1 else None

    def construct(self, value):
        return value if self.world_size == 1 else self.all_reduce(value)


def wait_for_all(world_size: int) -> None:
    """Barrier over all ranks."""
    if world_size > 1:
        Sum(world_size)(ms.Tensor([1.0], ms.float32)).asnumpy()


def gather_number(value: float, world_size: int) -> list[float]:
    """A float32 number of every rank, in rank order."""
    return make_gather(0, world_size)(ms.Tensor([[value]], ms.float32)).asnumpy()[:, 0].tolist()


class _FromFirst(nn.Cell):
    def __init__(self):
        super().__init__()
        self.broadcast = ops.Broadcast(0)

    def construct(self, values):
        return self.broadcast((values,))[0]


class FromFirst:
    """Rank 0's array on every rank; shape and dtype must be the same on all. One graph per shape and object."""

    def __init__(self):
        self._cell = _FromFirst()

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """A copy of rank 0's `array`."""
        return self._cell(ms.Tensor(array)).asnumpy().copy()


def copy_from_first(parameters, world_size: int) -> None:
    """Set float32 parameters of every rank to those of rank 0, in one transfer."""
    if world_size == 1 or not parameters:
        return
    own = np.concatenate([parameter.asnumpy().reshape(-1) for parameter in parameters])
    first = FromFirst()(own)
    ends = np.cumsum([parameter.size for parameter in parameters])
    for parameter, values in zip(parameters, np.split(first, ends[:-1])):
        parameter.set_data(ms.Tensor(values.reshape(parameter.shape)))
