"""A small exported folder written by hand: random towers of a few operators, but every file and key there is."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lightclip_ms.data.eval_transform import IMAGE_MEAN, IMAGE_STD
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.export.manifest import write_manifest

SIZE, GRID, EMBED_DIM, WIDTH = 32, 4, 16, 12
VOCAB_SIZE, CONTEXT_LENGTH = 8192, 24
SCALE = 10.0


def merges_text(vocab_size: int) -> str:
    """The content of `merges.txt` for a vocabulary."""
    return "".join(f"{left} {right}\n" for left, right in Tokenizer(CONTEXT_LENGTH, vocab_size).merges)


def write_tiny_export(folder: Path, with_tokens: bool = True, source: dict | None = None) -> Path:
    """Write the folder and return it; `source` is what the manifest says of the checkpoint."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    (folder / "merges.txt").write_text(merges_text(VOCAB_SIZE), encoding="utf-8")
    _write_tower(folder / "image.float32.onnx", _image_nodes(), _image_weights(rng), _IMAGE_INPUT, "P", with_tokens)
    _write_tower(folder / "text.float32.onnx", _text_nodes(), _text_weights(rng), _TEXT_INPUT, "L", with_tokens)
    outputs = ["features", "tokens"] if with_tokens else ["features"]
    towers = {
        tower: {"input": name, "outputs": outputs, "files": {"float32": f"{tower}.float32.onnx"}, "default": "float32"}
        for tower, name in (("image", "images"), ("text", "ids"))
    }
    content = {
        "name": "lightclip_tiny",
        "image_encoder": "by_hand",
        "embed_dim": EMBED_DIM,
        "scale": SCALE,
        "grid": [GRID, GRID],
        "preprocessing": {
            "size": SIZE,
            "resize": "bicubic",
            "crop": "centre",
            "max_aspect": 8,
            "mean": IMAGE_MEAN,
            "std": IMAGE_STD,
        },
        "tokenizer": {
            "merges": "merges.txt",
            "context_length": CONTEXT_LENGTH,
            "vocab_size": VOCAB_SIZE,
            "sot_id": VOCAB_SIZE - 2,
            "eot_id": VOCAB_SIZE - 1,
            "mask_id": VOCAB_SIZE,
            "pad_id": 0,
        },
        "onnx": {"opset": 17, **towers},
        "source": source or {"checkpoint": "none", "sha256": ""},
    }
    write_manifest(folder, content)
    return folder


_IMAGE_INPUT = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
_TEXT_INPUT = helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", "L"])


def _image_nodes() -> list:
    """One convolution makes the patches, their mean is the feature."""
    patch = SIZE // GRID
    return [
        helper.make_node("Conv", ["images", "patch"], ["map"], strides=[patch, patch]),
        helper.make_node("Reshape", ["map", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["tokens"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "projection"], ["features"]),
    ]


def _image_weights(rng) -> dict:
    patch = SIZE // GRID
    return {
        "patch": rng.normal(size=(WIDTH, 3, patch, patch)).astype(np.float32) / 8,
        "flat": np.array([0, WIDTH, -1], np.int64),
        "projection": rng.normal(size=(WIDTH, EMBED_DIM)).astype(np.float32),
    }


def _text_nodes() -> list:
    """The ids' embeddings are the tokens, their mean is the feature: padding would count, so it must be cut."""
    return [
        helper.make_node("Gather", ["embedding", "ids"], ["tokens"]),
        helper.make_node("ReduceMean", ["tokens"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "projection"], ["features"]),
    ]


def _text_weights(rng) -> dict:
    return {
        "embedding": rng.normal(size=(VOCAB_SIZE + 1, WIDTH)).astype(np.float32),
        "projection": rng.normal(size=(WIDTH, EMBED_DIM)).astype(np.float32),
    }


def _write_tower(path: Path, nodes: list, weights: dict, source, positions: str, with_tokens: bool) -> None:
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", EMBED_DIM])]
    if with_tokens:
        outputs.append(helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["N", positions, WIDTH]))
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tower", [source], outputs, initializers)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
