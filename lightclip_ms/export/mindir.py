"""Towers as MINDIR, for MindSpore and MindSpore Lite: the framework's own graph format, weights included."""

import os
from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn


class _Tower(nn.Cell):
    """One tower alone; a Cell of its own, as `set_inputs` would stay with the encoder."""

    def __init__(self, encoder: nn.Cell):
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, x):
        return self.encoder(x)


def write_mindir(folder: Path, model) -> None:
    """Write image.mindir (float32 [N, 3, S, S] -> [N, E]) and text.mindir (int32 [N, L] -> [N, E]) of a `LightCLIP`.

    N is dynamic; L is the context length. Takes half a minute to two minutes: both towers are compiled.
    """
    size, length = model.visual.image_size, model.text.context_length
    inputs = {
        "image": (model.visual, Tensor(shape=[None, 3, size, size], dtype=ms.float32)),
        "text": (model.text, Tensor(shape=[None, length], dtype=ms.int32)),
    }
    for name, (encoder, example) in inputs.items():
        tower = _Tower(encoder).set_train(False)
        tower.set_inputs(example)
        ms.export(tower, example, file_name=str(folder / name), file_format="MINDIR")
        os.chmod(folder / f"{name}.mindir", 0o644)  # MindSpore leaves 0400, over which nothing can be copied


def open_mindir(folder: Path):
    """The written files as a function (tower, array) -> features [N, E], to compare them with the model."""
    graphs = {name: nn.GraphCell(ms.load(str(folder / f"{name}.mindir"))) for name in ("image", "text")}
    return lambda tower, batch: graphs[tower](Tensor(batch)).asnumpy()
