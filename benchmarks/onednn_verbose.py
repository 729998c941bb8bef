"""Which oneDNN kernels run forward and backward of an image encoder, by its own verbose output, in both frameworks.

python -m benchmarks.onednn_verbose resnet18:16 mobilenet_v2:16 demo:64
"""

import collections
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START = "measured from here"
RUNS = 2


def run_mindspore(config, batch: int) -> None:
    import lightclip_ms.runtime.backend

    lightclip_ms.runtime.backend.prepare_device("cpu")
    import numpy as np
    from mindspore import Tensor

    from benchmarks.mindspore_worker import EncoderGradients
    from lightclip_ms.model.factory import create_model

    gradients = EncoderGradients(create_model(config.model).visual)
    images = Tensor(np.random.default_rng(0).normal(size=(batch, 3, *[config.model.image_size] * 2)).astype(np.float32))
    repeat(lambda: gradients(images)[0].asnumpy())


def run_torch(config, batch: int) -> None:
    import torch

    from benchmarks.torch_objective import Model

    visual = Model(config.model).visual.train()
    images = torch.randn(batch, 3, *[config.model.image_size] * 2)
    repeat(lambda: visual(images)[2].square().sum().backward())


def repeat(run) -> None:
    run()
    print(START, flush=True)
    for _ in range(RUNS):
        run()


def milliseconds(output: str) -> dict[str, float]:
    """By kind of primitive, implementation, and whether a convolution is depthwise; of one run."""
    totals = collections.Counter()
    for line in output.split(START)[1].splitlines():
        fields = line.split(",")
        if "exec" in fields[:5] and "cpu" in fields[:6]:
            kind, implementation = fields[fields.index("cpu") + 1 :][:2]
            depthwise = " depthwise" if kind == "convolution" and fields[-2].startswith("g") else ""
            totals[f"{kind} {implementation}{depthwise}"] += float(fields[-1]) / RUNS
    return dict(totals.most_common(6))


def main():
    if sys.argv[1] in ("mindspore", "torch"):
        from lightclip_ms.config.file import load_config

        run = run_mindspore if sys.argv[1] == "mindspore" else run_torch
        run(load_config(sys.argv[2]), int(sys.argv[3]))
        return
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": str(os.cpu_count())}
    for case in sys.argv[1:]:
        for framework in ("mindspore", "torch"):
            command = [sys.executable, "-m", "benchmarks.onednn_verbose", framework, *case.split(":")]
            output = subprocess.run(
                command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
            parts = [f"{name} {time:.0f} ms" for name, time in milliseconds(output).items()]
            print(f"{case} {framework}: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
