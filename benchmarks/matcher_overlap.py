"""How much of the matching runs beside other work: `python -m benchmarks.matcher_overlap [PAIRS] [THREADS]`.

A small LightCLIP at full sequence lengths (49 patches, 77 positions), one graph, two ways in turn: the start of the
matching returns at once, or only when all pairs are matched, as one call would. Times in milliseconds, medians.
"""

import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = sys.argv[2] if len(sys.argv) > 2 else "1"

import numpy as np
from mindspore import Tensor
from mindspore import dtype as mstype

import lightclip_ms.runtime.backend
from benchmarks.batch import make_batch
from lightclip_ms.config.schema import LossConfig, ModelConfig, TrainConfig
from lightclip_ms.losses import matching
from lightclip_ms.model.factory import create_model
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep

MODEL = ModelConfig(
    image_encoder="swin_nano",
    image_size=224,
    image_options={"embed": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2]},
    embed_dim=32,
    vocab_size=8192,
    text_width=32,
    text_heads=2,
    text_layers=4,
)
ROUNDS = 8


class Recorder:
    """`matching._begin` with a clock, and with or without waiting for the result before it returns."""

    def __init__(self):
        self.begin, self.waits_at_once, self.times = matching._begin, False, []

    def __call__(self, cost, valid):
        began = time.perf_counter()
        finish = self.begin(cost, valid)
        if self.waits_at_once:
            finish()
        returned = time.perf_counter()

        def finish_on_the_clock():
            fetched = time.perf_counter()
            patches = finish()
            self.times.append(1e3 * np.array([returned - began, fetched - returned, time.perf_counter() - fetched]))
            return patches

        return finish_on_the_clock


def main():
    lightclip_ms.runtime.backend.prepare_device("cpu")
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    step = TrainStep(Objective(create_model(MODEL), LossConfig()), TrainConfig(batch_size=pairs))
    batch = make_batch(pairs, MODEL.image_size, MODEL.context_length, MODEL.vocab_size)
    arrays = [Tensor(batch[name]) for name in step.objective.parts]
    inputs = (Tensor(0, mstype.int32), step.update.optimizer.rate(1e-4), Tensor(0.0, mstype.float32), *arrays)
    matching._begin = recorder = Recorder()
    rows = {False: [], True: []}
    for turn in range(2 * ROUNDS + 2):
        recorder.waits_at_once = bool(turn % 2)
        began = time.perf_counter()
        step(*inputs).asnumpy()
        if turn > 1:  # the first two compile and warm up
            rows[recorder.waits_at_once].append([1e3 * (time.perf_counter() - began), *recorder.times[-1]])
    overlapped, blocking = (np.median(rows[waits], axis=0) for waits in (False, True))
    print(f"{pairs} pairs, {os.environ['OMP_NUM_THREADS']} threads of MindSpore, {matching._THREADS} of the matcher")
    print(f"  {'':<22}{'step':>9}{'start':>9}{'between':>9}{'fetch':>9}")
    for name, row in (("start returns at once", overlapped), ("start waits", blocking)):
        print(f"  {name:<22}" + "".join(f"{value:9.2f}" for value in row))
    hidden = 1 - (overlapped[1] + overlapped[3]) / (blocking[1] + blocking[3])
    print(f"  hidden behind other work: {hidden:.0%} of the {blocking[1] + blocking[3]:.2f} ms of a matching")


if __name__ == "__main__":
    main()
