"""Runs that start from weights: from which file, and which tower keeps them."""

from mindspore import nn

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import model_config, refuse_other_architecture
from lightclip_ms.model.weights import load_cell, read_checkpoint
from lightclip_ms.runtime.files import sha256

TOWERS = {"image": "visual", "text": "text"}  # in a configuration: in a model


def load_pretrained(model: nn.Cell, config: ModelConfig) -> str:
    """Set a fresh model's weights from `model.pretrained`, if that is given.

    Returns:
        SHA-256 of the file, empty without one. It identifies the run in place of the path, which may change.

    Raises:
        FileNotFoundError: no such file. ValueError: damaged, no checkpoint of this package, or of another architecture.
    """
    if not config.pretrained:
        return ""
    arrays, header = read_checkpoint(config.pretrained)
    refuse_other_architecture(config, model_config(header), config.pretrained)
    load_cell(model, "model", arrays, config.pretrained)
    return sha256(config.pretrained)


def freeze(model: nn.Cell, tower: str) -> None:
    """Keep a tower as it is: no gradients, and batch normalisation by its running statistics, which stay too.

    Args:
        model: `LightCLIP`.
        tower: a key of `TOWERS`, or empty for none.
    """
    if not tower:
        return
    cell = getattr(model, TOWERS[tower])
    for parameter in cell.trainable_params():
        parameter.requires_grad = False
    for _, layer in cell.cells_and_names():
        if isinstance(layer, nn.BatchNorm2d):
            layer.use_batch_statistics = False
