"""Models from configurations, names and checkpoints, with the transforms and the tokenizer that fit them."""

import os

from lightclip_ms.config.file import from_dict, to_dict
from lightclip_ms.config.presets import preset
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.data.eval_transform import EvalTransform, eval_transform
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.data.transforms import TrainTransform, train_transform
from lightclip_ms.encoders import TextTransformer, create_image_encoder
from lightclip_ms.model.lightclip import LightCLIP
from lightclip_ms.model.weights import load_cell, read_checkpoint, read_header


def create_model(config: ModelConfig) -> LightCLIP:
    """A `LightCLIP` with fresh weights.

    Raises:
        ValueError: unknown encoder or option, or sizes that do not fit together.
    """
    visual = create_image_encoder(config.image_encoder, config.image_size, config.embed_dim, **config.image_options)
    text = TextTransformer(
        config.vocab_size,
        config.context_length,
        config.text_width,
        config.text_heads,
        config.text_layers,
        config.embed_dim,
        config.text_activation,
    )
    return LightCLIP(visual, text)


def create_model_and_transforms(name: str, pretrained: str | os.PathLike | None = None):
    """A named model and the two transforms its pictures need.

    Args:
        name: one of `list_models()`.
        pretrained: path of a checkpoint of that architecture; None leaves fresh weights.

    Returns:
        (`LightCLIP`, training transform, evaluation transform).

    Raises:
        ValueError: unknown name, or a checkpoint of another architecture: the message names the first difference, and
            `load_model` builds what the checkpoint holds. FileNotFoundError: no such checkpoint.
    """
    config = preset(name)
    if pretrained is not None:
        refuse_other_architecture(config, model_config(read_header(pretrained)), pretrained)
    model = create_model(config)
    if pretrained is not None:
        arrays, _ = read_checkpoint(pretrained)
        load_cell(model, "model", arrays, pretrained)
    return model, *transforms(config)


def load_model(path: str | os.PathLike) -> tuple[LightCLIP, tuple[TrainTransform, EvalTransform], Tokenizer]:
    """The model of a checkpoint, which carries its own architecture, in evaluation mode.

    Returns:
        (`LightCLIP`, (training transform, evaluation transform), tokenizer).

    Raises:
        FileNotFoundError: no such file. ValueError: damaged, or no checkpoint of this package.
    """
    model, config = load_model_and_config(path)
    return model, transforms(config), Tokenizer(config.context_length, config.vocab_size)


def load_model_and_config(path: str | os.PathLike) -> tuple[LightCLIP, ModelConfig]:
    """The model of a checkpoint in evaluation mode, and its configuration. Raises as `load_model`."""
    arrays, header = read_checkpoint(path)
    config = model_config(header)
    model = create_model(config)
    load_cell(model, "model", arrays, path)
    return model.set_train(False), config


def model_config(header: dict) -> ModelConfig:
    """The architecture that a checkpoint's header (`weights.read_header`) describes.

    Raises:
        ValueError: it describes none, or one that cannot be.
    """
    config = header.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError("the header of the checkpoint holds no model configuration")
    return from_dict({"model": config["model"]}).model


def transforms(config: ModelConfig) -> tuple[TrainTransform, EvalTransform]:
    """The training and the evaluation transform of a model."""
    return train_transform(config.image_size), eval_transform(config.image_size)


def refuse_other_architecture(wanted: ModelConfig, found: ModelConfig, path) -> None:
    """Raise ValueError that names the first difference between a configuration and that of the checkpoint at `path`."""
    # The name is a label, `pretrained` a run's start: what decides is the shape of the towers.
    theirs = to_dict(found)
    for key, ours in to_dict(wanted).items():
        if key not in ("name", "pretrained") and theirs[key] != ours:
            raise ValueError(
                f"{path}: checkpoint of another architecture: model.{key} is {theirs[key]!r}, that of "
                f"{wanted.name} is {ours!r}; lightclip_ms.load_model(path) builds the checkpoint's own"
            )
