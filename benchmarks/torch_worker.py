"""PyTorch side of `scripts/bench_step.py`: `python -m benchmarks.torch_worker FOLDER THREADS`."""

import time

START = time.perf_counter()

import json  # noqa: E402 - the time that imports take is part of the report
import os  # noqa: E402
import sys  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.protocol import serve  # noqa: E402
from benchmarks.torch_objective import Objective  # noqa: E402
from lightclip_ms.config.schema import ModelConfig  # noqa: E402
from lightclip_ms.data.batch import LIGHTCLIP_PARTS  # noqa: E402
from lightclip_ms.export.torch_names import to_torch_names  # noqa: E402


def load(folder: str, batch_file: str = "batch.npz", **distributed):
    """The objective with our weights, and the batch as tensors."""
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        objective = Objective(ModelConfig(**json.load(file)["model"]), **distributed)
    arrays = to_torch_names(dict(np.load(f"{folder}/weights.npz")))
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    missing, unexpected = objective.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"the name map is incomplete: missing {missing[:3]}, unexpected {unexpected[:3]}")
    batch = {key: torch.from_numpy(array) for key, array in np.load(f"{folder}/{batch_file}").items()}
    integers = ("text", "masked_text", "mlm_positions", "mlm_labels")
    return objective, [batch[key].long() if key in integers else batch[key] for key in LIGHTCLIP_PARTS]


def gradients(objective, batch, phase):
    """(loss terms, gradients by name) of one batch. Use float64 for comparisons: in float32 single activations at a
    ReLU's kink may fall on either side, which moves a gradient by up to 1e-2, here as in PyTorch."""
    objective.zero_grad(set_to_none=True)
    terms = objective(*batch, phase)
    terms[0].backward()
    found = {name: parameter.grad.float().numpy() for name, parameter in objective.named_parameters()}
    objective.zero_grad(set_to_none=True)
    return [term.item() for term in terms], found


def make_optimizer(objective):
    """AdamW as ours: no decay of vectors."""
    matrices = [p for p in objective.parameters() if p.ndim > 1]
    others = [p for p in objective.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0}]
    return torch.optim.AdamW(groups, lr=1e-6, betas=(0.9, 0.98), eps=1e-6, fused=True)


def train_step(forward, objective, optimizer, batch) -> float:
    """One step; `forward` is the objective, or what reduces its gradients over ranks."""
    optimizer.zero_grad(set_to_none=True)
    loss = forward(*batch, 2)[0]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        objective.model.logit_scale.clamp_(0, np.log(100))
    return loss.item()


def main():
    imported = time.perf_counter() - START
    folder, threads = sys.argv[1], int(sys.argv[2])
    os.environ.pop(
        "ONEDNN_MAX_CPU_ISA", None
    )  # importing our package caps what MindSpore's oneDNN may use, not PyTorch's
    torch.set_num_threads(threads)
    start = time.perf_counter()
    objective, batch = load(folder)
    build = time.perf_counter() - start
    objective.train()
    model = objective.model
    optimizer = make_optimizer(objective)
    images = torch.randn(len(batch[0]), 3, *batch[0].shape[1:3])

    def check():
        np.savez(f"{folder}/torch_gradients_float32.npz", **gradients(objective, batch, 2)[1])
        terms, reference = gradients(objective.double(), batch, 2)
        np.savez(f"{folder}/torch_gradients.npz", **reference)
        return {"terms": terms}

    longest = int((batch[1] == model.text.eot_id).int().argmax(1).max()) + 1
    cut = [batch[0], batch[1][:, :longest], batch[2][:, :longest], *batch[3:]]

    def step(arrays=batch):
        return train_step(objective, objective, optimizer, arrays)

    def operators():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            step()
        return {event.key: event.self_cpu_time_total / 1e3 for event in profiler.key_averages()}

    def image_encoder():
        optimizer.zero_grad(set_to_none=True)
        model.visual(images)[2].square().sum().backward()

    def text_encoder():
        optimizer.zero_grad(set_to_none=True)
        model.text(batch[1])[1].square().sum().backward()

    def inference(run):
        def task():
            objective.eval()
            with torch.inference_mode():
                run()
            objective.train()

        return task

    serve(
        {
            "check": check,
            "step": step,
            "step, cut": lambda: step(cut),
            "operators": operators,
            "image encoder": image_encoder,
            "text encoder": text_encoder,
            "encode_image": inference(lambda: model.visual(images)),
            "encode_text": inference(lambda: model.text(batch[1])),
        },
        {"import": imported, "build": build},
    )


if __name__ == "__main__":
    main()
