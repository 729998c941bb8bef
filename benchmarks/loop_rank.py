"""A rank of a training run that measures its loop and its step alone, by orders: see `scripts/bench_loop.py`.

`python -m benchmarks.loop_rank FOLDER CONFIG [key=value ...]`
"""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.ranks import Orders, used
from lightclip_ms.config.file import load_config, to_dict
from lightclip_ms.runtime import parallel
from lightclip_ms.runtime.exits import main_guard
from lightclip_ms.train.loop import Stopped, Trainer

DRAINED = 3  # steps of the loop before its count begins: they use batches that were made while it waited


class Gate:
    """Stands for a trainer's step: waits for an order when the steps of the last one are done."""

    def __init__(self, step, orders: Orders, begin):
        self._step, self._orders, self._begin = step, orders, begin
        self._left = self._count = 0
        self._before = None

    def __getattr__(self, name):
        return getattr(self._step, name)

    def __call__(self, *arguments):
        if self._before is None:
            self._begin(arguments)
        if self._left == self._count:
            self._before = used()
        if self._left == 0:
            self._obey(arguments)
        self._left -= 1
        return self._step(*arguments)

    def _obey(self, arguments) -> None:
        """Answer for the loop, then take orders for the step alone until one is for the loop."""
        if self._count:
            self._orders.answer(self._before, used(), self._count)
        while (order := self._orders.next()) is not None:
            self._count = order["count"]
            if order["task"] == "loop":
                self._left = self._count + DRAINED
                return
            before = used()
            for _ in range(self._count):
                self._step(*arguments).asnumpy()
            self._orders.answer(before, used(), self._count)
        raise Stopped


def unpacked(batch: dict) -> dict:
    """The parts of a batch with one caption per row, as PyTorch's step takes them, whether it was packed or not."""
    if "packed_ids" not in batch:
        return batch
    ids, masked = batch["packed_ids"].ravel(), np.zeros_like(batch["text"])
    clean = len(masked)  # captions, which come before the masked ones
    for row, start, end in zip(masked, batch["packed_starts"][clean:], batch["packed_ends"][clean:] + 1):
        row[: end - start] = ids[start:end]
    return {**batch, "masked_text": masked}


@main_guard
def main() -> int:
    folder, name, *overrides = sys.argv[1:]
    config = load_config(name, overrides)
    trainer = Trainer(config)
    parts = trainer.objective.parts

    def leave_for_pytorch(arguments) -> None:
        batch = {part: tensor.asnumpy() for part, tensor in zip(parts, arguments[-len(parts) :])}
        np.savez(Path(folder, f"batch.{trainer.rank}.npz"), **unpacked(batch))
        if trainer.rank == 0:
            weights = {name: parameter.asnumpy() for name, parameter in trainer.objective.parameters_and_names()}
            np.savez(Path(folder, "weights.npz"), **weights)
            Path(folder, "config.json").write_text(json.dumps({"model": to_dict(config.model)}), encoding="utf-8")

    trainer.step = Gate(trainer.step, Orders(folder, trainer.rank), leave_for_pytorch)
    try:
        trainer.run()
    except Stopped:
        parallel.wait_for_all(trainer.world_size)  # the launcher ends all ranks when the first one leaves
    return 0


if __name__ == "__main__":
    sys.exit(main())
