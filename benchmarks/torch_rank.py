"""A rank of PyTorch's step, gloo between ranks, by orders: `python -m benchmarks.torch_rank FOLDER SOURCE RANK WORLD`.

FOLDER has the pipes; SOURCE has the weights and the ranks' batches, which `loop_rank` left there.
"""

import os
import sys

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.ranks import Orders, used
from benchmarks.torch_worker import load, make_optimizer, train_step


class GatherRows(torch.autograd.Function):
    """Rows of every rank in rank order; the gradient of a row is summed over all ranks."""

    @staticmethod
    def forward(context, rows):
        everyone = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(everyone, rows.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]


def main():
    folder, source, rank, world_size = *sys.argv[1:3], *map(int, sys.argv[3:])
    os.environ.pop("ONEDNN_MAX_CPU_ISA", None)  # what importing our package caps for MindSpore's oneDNN only
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    gather = GatherRows.apply if world_size > 1 else lambda rows: rows
    objective, batch = load(source, f"batch.{rank}.npz", gather=gather, rank=rank)
    objective.train()
    forward = objective
    if world_size > 1:
        distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world_size)
        # Running statistics stay each rank's own, as ours: nothing but gradients is sent.
        forward = DistributedDataParallel(objective, forward_sync_buffers=False, gradient_as_bucket_view=True)
    optimizer, orders = make_optimizer(objective), Orders(folder, rank)
    while (order := orders.next()) is not None:
        before = used()
        for _ in range(order["count"]):
            train_step(forward, objective, optimizer, batch)
        orders.answer(before, used(), order["count"])
    if world_size > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
