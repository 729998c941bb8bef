"""MindSpore side of `scripts/bench_step.py`: `python -m benchmarks.mindspore_worker FOLDER THREADS [unpacked]`."""

import time

START = time.perf_counter()

import csv  # noqa: E402 - the time that imports take is part of the report
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402

import lightclip_ms.runtime.backend  # noqa: E402 - prepares the environment before MindSpore loads
from benchmarks.protocol import serve  # noqa: E402
from lightclip_ms.config.schema import LossConfig, ModelConfig, TrainConfig  # noqa: E402
from lightclip_ms.model.factory import create_model  # noqa: E402
from lightclip_ms.train.objective import Objective  # noqa: E402
from lightclip_ms.train.step import TrainStep  # noqa: E402


class Gradients(nn.Cell):
    """Loss terms and gradients without an update."""

    def __init__(self, step):
        super().__init__()
        self.value_and_grad = step.value_and_grad
        self.set_train()

    def construct(self, phase, *arrays):
        (_, terms), gradients = self.value_and_grad(arrays, phase)
        return terms, gradients


class SquareSum(nn.Cell):
    """A scalar of one encoder's embeddings; parameters keep their names, which are those of the model."""

    def __init__(self, encoder):
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, x):
        return (self.encoder.forward_features(x)[-1] ** 2).sum()


class EncoderGradients(nn.Cell):
    """Gradients of one encoder alone."""

    def __init__(self, encoder):
        super().__init__(auto_prefix=False)
        self.square_sum = SquareSum(encoder)
        self.gradients = ms.grad(self.square_sum, None, ms.ParameterTuple(encoder.trainable_params()))
        self.set_train()

    def construct(self, x):
        return self.gradients(x)


def perturb(objective):
    """Random weights everywhere: a zero scale would hide whole branches from the comparison of gradients."""
    rng = np.random.default_rng(0)
    for parameter in objective.trainable_params():
        values = parameter.asnumpy()
        if values.ndim == 1 and parameter.name != "model.logit_scale":
            zero_scale = parameter.name.endswith("gamma") and not values.any()
            values = values + zero_scale + rng.normal(0, 0.02, values.shape)
        parameter.set_data(Tensor(values.astype(np.float32)))


def prepare(folder: str, packed: bool = True):
    """Objective and step with the same weights in every run, which are left in the folder; and their trained names."""
    ms.set_seed(0)
    config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    model, loss = create_model(ModelConfig(**config["model"])), LossConfig(**config["loss"])
    objective = Objective(model, loss, packed=packed)
    perturb(objective)
    np.savez(f"{folder}/weights.npz", **{p.name: p.asnumpy() for p in objective.get_parameters()})
    names = {id(parameter): parameter.name for parameter in objective.trainable_params()}  # the step renames them
    step = TrainStep(objective, TrainConfig(lr=1e-6, amp_level="O0"))
    return objective, step, [names[id(parameter)] for parameter in step.update.parameters]


def profile(run, folder) -> dict:
    """Milliseconds by type of operator of one run."""
    with ms.profiler.profile(
        activities=[ms.profiler.ProfilerActivity.CPU],
        on_trace_ready=ms.profiler.tensorboard_trace_handler(f"{folder}/profile"),
    ) as profiler:
        run()
        profiler.step()
    (table,) = Path(folder).glob("profile/**/cpu_op_type_info_*.csv")
    with table.open(newline="", encoding="utf-8") as file:
        return {row["op_type"]: float(row["total_compute_time"]) for row in csv.DictReader(file)}


def main():
    imported = time.perf_counter() - START
    folder = sys.argv[1]
    lightclip_ms.runtime.backend.prepare_device("cpu")
    start = time.perf_counter()
    objective, step, names = prepare(folder, packed=sys.argv[-1] != "unpacked")
    build = time.perf_counter() - start
    arrays = np.load(f"{folder}/batch.npz")
    batch = tuple(Tensor(arrays[key]) for key in objective.parts)
    phase, rate, stop = Tensor(2, ms.int32), Tensor(1e-6, ms.float32), Tensor(0, ms.float32)

    def check():
        terms, gradients = Gradients(step)(phase, *batch)
        np.savez(
            f"{folder}/our_gradients.npz", **{name: gradient.asnumpy() for name, gradient in zip(names, gradients)}
        )
        return {"terms": terms.asnumpy()[:4].tolist()}

    model = objective.model
    rng = np.random.default_rng(1)
    text = Tensor(arrays["text"])
    images = Tensor(rng.normal(size=(len(batch[0]), 3, *batch[0].shape[1:3])).astype(np.float32))
    visual_gradients, text_gradients = EncoderGradients(model.visual), EncoderGradients(model.text)

    def inference(run):
        def task():
            model.set_train(False)
            run().asnumpy()
            model.set_train(True)

        return task

    def run_step():
        return step(phase, rate, stop, *batch).asnumpy()

    serve(
        {
            "check": check,
            "step": run_step,
            "operators": lambda: profile(run_step, folder),
            "image encoder": lambda: visual_gradients(images)[0].asnumpy(),
            "text encoder": lambda: text_gradients(text)[0].asnumpy(),
            "encode_image": inference(lambda: model.encode_image(images)),
            "encode_text": inference(lambda: model.encode_text(text)),
        },
        {"import": imported, "build": build},
    )


if __name__ == "__main__":
    main()
