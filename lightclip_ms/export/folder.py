"""The files of an exported folder: towers in the precisions asked for, merges, manifest."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from lightclip_ms.config.file import to_dict
from lightclip_ms.data.eval_transform import IMAGE_MEAN, IMAGE_STD, MAX_ASPECT
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.export.graph import OPSET
from lightclip_ms.export.manifest import PRECISIONS, TOWERS, write_manifest
from lightclip_ms.export.precision import image_to_int8, text_to_int8, to_float16
from lightclip_ms.runtime.versions import versions

_INPUTS = {"image": "images", "text": "ids"}


def write_towers(
    folder: Path,
    towers: dict[str, onnx.ModelProto],
    precisions: dict[str, list[str]],
    calibration: np.ndarray | None,
    tell: Callable[[str], None],
) -> dict:
    """Write `<tower>.<precision>.onnx` files; returns the manifest's `onnx` section.

    Args:
        towers: the float32 models of `towers.py`; precisions: of each tower, some of `PRECISIONS`.
        calibration: pictures float32 [n, 3, S, S] for the image tower in int8.
        tell: gets a line for each file.
    """
    convert = {
        ("image", "int8"): lambda model: image_to_int8(model, calibration),
        ("text", "int8"): text_to_int8,
        ("image", "float16"): to_float16,
        ("text", "float16"): to_float16,
    }
    section = {"opset": OPSET}
    for tower in TOWERS:
        files = {}
        for precision in sorted(precisions[tower], key=PRECISIONS.index):
            model = towers[tower]
            if precision != "float32":
                model = convert[tower, precision](model)
            files[precision] = f"{tower}.{precision}.onnx"
            (folder / files[precision]).write_bytes(model.SerializeToString())
            tell(f"{files[precision]}: {(folder / files[precision]).stat().st_size / 1e6:.1f} MB")
        section[tower] = {
            "input": _INPUTS[tower],
            "outputs": [output.name for output in towers[tower].graph.output],
            "files": files,
            "default": next(iter(files)),
        }
    return section


def describe(folder: Path, config, model, source: dict, onnx_section: dict) -> None:
    """Write `merges.txt` and, last, `manifest.json`.

    Args:
        config: the `ModelConfig`. model: the `LightCLIP`. source: {"checkpoint", "sha256"}.
        onnx_section: of `write_towers`.
    """
    tokenizer = Tokenizer(config.context_length, config.vocab_size)
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer.merges)
    (folder / "merges.txt").write_text(merges, encoding="utf-8", newline="\n")
    side = config.image_size // model.visual.stage_strides[-1]
    packages = {name: version(name) for name in ("onnx", "onnxruntime")}
    write_manifest(
        folder,
        {
            "name": config.name,
            "image_encoder": config.image_encoder,
            "embed_dim": config.embed_dim,
            "scale": float(np.exp(model.logit_scale.asnumpy().item())),
            "grid": [side, side],
            "preprocessing": {
                "size": config.image_size,
                "resize": "bicubic",
                "crop": "centre",
                "max_aspect": MAX_ASPECT,
                "mean": list(IMAGE_MEAN),
                "std": list(IMAGE_STD),
            },
            "tokenizer": {
                "merges": "merges.txt",
                "context_length": tokenizer.context_length,
                "vocab_size": tokenizer.vocab_size,
                "sot_id": tokenizer.sot_id,
                "eot_id": tokenizer.eot_id,
                "mask_id": tokenizer.mask_id,
                "pad_id": 0,
            },
            "onnx": onnx_section,
            "source": source,
            "config": to_dict(config),
            "versions": versions() | packages,
        },
    )
