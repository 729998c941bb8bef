"""A model for PyTorch: one safetensors file, and the module that loads it with torch alone."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from lightclip_ms.config.file import to_dict
from lightclip_ms.export.torch_names import to_torch_names

WEIGHTS, MODULE = "lightclip_torch.safetensors", "lightclip_torch.py"
ENCODERS = ("resnet18", "mobilenet_v2", "swin_nano", "swin_tiny", "swin_small", "swin_base")


def check_encoder(name: str) -> None:
    """Raises ValueError where the PyTorch module has no such image encoder."""
    if name not in ENCODERS:
        raise ValueError(f"--format open_clip has no image encoder {name}: it knows {', '.join(ENCODERS)}")


def write_open_clip(folder: Path, model, config) -> None:
    """Write lightclip_torch.safetensors and lightclip_torch.py.

    The text tower's tensors are named as in open_clip's CLIP, at the top level; the image tower's begin with `visual.`.
    The row of `<|mask|>` is left out: no tokenizer makes it.
    """
    arrays = {name: parameter.asnumpy() for name, parameter in model.parameters_and_names()}
    arrays["text.token_embedding"] = arrays["text.token_embedding"][: config.vocab_size]
    named = {
        name.removeprefix("text."): np.ascontiguousarray(array, np.float32)
        for name, array in to_torch_names(arrays).items()
    }
    metadata = {"format": "pt", "config": json.dumps(to_dict(config))}
    save_file(named, folder / WEIGHTS, metadata)
    shutil.copyfile(Path(__file__).with_name(MODULE), folder / MODULE)


def open_torch(folder: Path):
    """The written files as a function (tower, array) -> features [N, E], or None where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch  # a comparison only, and only where it is installed

    spec = importlib.util.spec_from_file_location("exported_lightclip_torch", folder / MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, _ = module.read_model(folder / WEIGHTS)

    def encode(tower: str, batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            tensor = torch.from_numpy(batch)
            return (model.encode_image(tensor) if tower == "image" else model.encode_text(tensor.long())).numpy()

    return encode
