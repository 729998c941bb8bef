"""Evaluation on several ranks: each takes every W-th batch, all see all results."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightclip_ms.runtime.cluster_variables import drop_leftovers


@dataclass(frozen=True)
class Ranks:
    """This process's rank among `world_size`; `gather` concatenates equal float32 [n, D] of all ranks in rank order."""

    rank: int = 0
    world_size: int = 1
    gather: Callable[[np.ndarray], np.ndarray] = lambda rows: rows


def join_ranks() -> Ranks:
    """The ranks of the job that `msrun` started; a single one without it."""
    drop_leftovers()
    if "MS_ROLE" not in os.environ:
        return Ranks()
    from mindspore import Tensor

    from lightclip_ms.runtime import parallel

    rank, world_size = parallel.init()
    gather = parallel.make_gather(rank, world_size)
    return Ranks(rank, world_size, lambda rows: gather(Tensor(rows)).asnumpy())
