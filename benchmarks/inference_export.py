"""Everything the runtimes of `bench_inference.py` load: `python -m benchmarks.inference_export FOLDER`.

Random weights with no term left out: speed does not depend on them, and differences show.
"""

import json
import sys
from pathlib import Path

import numpy as np
from mindspore import Tensor

import lightclip_ms.runtime.backend
from benchmarks.inference_inputs import make_inputs
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.export.folder import write_towers
from lightclip_ms.export.manifest import PRECISIONS
from lightclip_ms.export.towers import image_tower, text_tower
from lightclip_ms.model.factory import create_model


def randomized(config: ModelConfig):
    """A model whose scales, shifts and batch statistics are away from 0 and 1."""
    model = create_model(config).set_train(False)
    rng = np.random.default_rng(0)
    for parameter in model.get_parameters():
        values = parameter.asnumpy()
        if values.ndim == 1 and parameter.name != "logit_scale":
            zero_scale = parameter.name.endswith("gamma") and not values.any()
            parameter.set_data(Tensor((values + zero_scale + rng.normal(0, 0.02, values.shape)).astype(np.float32)))
    return model


def main() -> None:
    folder = Path(sys.argv[1])
    lightclip_ms.runtime.backend.prepare_device("cpu")
    config = ModelConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    inputs = make_inputs(config)
    np.savez(folder / "inputs.npz", **inputs)
    model = randomized(config)
    np.savez(folder / "weights.npz", **{p.name: p.asnumpy() for p in model.get_parameters()})
    graphs = {"image": image_tower(model.visual), "text": text_tower(model.text)}
    precisions = dict.fromkeys(graphs, list(PRECISIONS))
    write_towers(folder, graphs, precisions, inputs["image"], lambda line: None)


if __name__ == "__main__":
    main()
