"""One tower in one runtime: `python -m benchmarks.inference_worker RUNTIME TOWER FOLDER THREADS`.

RUNTIME is onnxruntime.float32, onnxruntime.float16, onnxruntime.int8, mindspore, torch or torch.compile. Only that
runtime's library is loaded, so that load time and peak memory are its own.
"""

# ruff: noqa: E402 - the time that imports take is part of the report
import time

START = time.perf_counter()

import json
import os
import sys
from pathlib import Path

import numpy as np

from benchmarks.inference_inputs import tower_inputs
from benchmarks.protocol import serve
from lightclip_ms.config.schema import ModelConfig


def load_onnxruntime(tower: str, folder: Path, config, threads: int, precision: str):
    """The exported file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    path = folder / f"{tower}.{precision}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda batch: session.run(["features"], {source.name: batch})[0]


def load_mindspore(tower: str, folder: Path, config, threads: int):
    """The compiled Cell; its kernels get OMP_NUM_THREADS threads."""
    import mindspore as ms

    import lightclip_ms.runtime.backend
    from lightclip_ms.model.factory import create_model

    lightclip_ms.runtime.backend.prepare_device("cpu")
    model = create_model(config)
    weights = np.load(folder / "weights.npz")
    for parameter in model.get_parameters():
        parameter.set_data(ms.Tensor(weights[parameter.name]))
    encoder = (model.visual if tower == "image" else model.text).set_train(False)
    return lambda batch: encoder(ms.Tensor(batch)).asnumpy()


def load_torch(tower: str, folder: Path, config, threads: int, compiled: bool = False):
    """The plain PyTorch implementation."""
    import torch

    from lightclip_ms.config.file import to_dict
    from lightclip_ms.export.lightclip_torch import LightCLIP
    from lightclip_ms.export.torch_names import to_torch_names

    torch.set_num_threads(threads)
    model = LightCLIP(to_dict(config), mask_token=True)
    arrays = to_torch_names(dict(np.load(folder / "weights.npz")))
    missing, unexpected = model.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()}, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"the name map is incomplete: missing {missing[:3]}, unexpected {unexpected[:3]}")
    encoder = (model.visual if tower == "image" else model.text).eval()
    if compiled:
        encoder = torch.compile(encoder)

    def run(batch):
        tensor = torch.from_numpy(batch)
        with torch.inference_mode():
            return encoder(tensor if tower == "image" else tensor.long())[-1].numpy()

    return run


LOADERS = {
    "onnxruntime.float32": lambda *case: load_onnxruntime(*case, "float32"),
    "onnxruntime.float16": lambda *case: load_onnxruntime(*case, "float16"),
    "onnxruntime.int8": lambda *case: load_onnxruntime(*case, "int8"),
    "mindspore": load_mindspore,
    "torch": load_torch,
    "torch.compile": lambda *case: load_torch(*case, compiled=True),
}


def main() -> None:
    runtime, tower, folder, threads = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    config = ModelConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    inputs = tower_inputs(tower, np.load(folder / "inputs.npz"))
    if runtime != "mindspore":  # importing the package caps oneDNN for MindSpore's sake; others are faster without
        os.environ.pop("ONEDNN_MAX_CPU_ISA", None)
    encode = LOADERS[runtime](tower, folder, config, threads)
    load = time.perf_counter() - START

    def task(batch):
        def run():
            encode(batch)

        return run

    def check():
        features = {name.replace(" ", "_"): encode(batch) for name, batch in inputs.items()}
        np.savez(folder / f"{runtime}-{tower}-{threads}.npz", **features)

    serve({name: task(batch) for name, batch in inputs.items()} | {"check": check}, {"load": load})


if __name__ == "__main__":
    main()
