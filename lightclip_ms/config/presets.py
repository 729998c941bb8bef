"""Models by name: which encoders and sizes belong together."""

import difflib

from lightclip_ms.config.checks import shown
from lightclip_ms.config.mindcv_networks import NETWORKS, PREFIX
from lightclip_ms.config.schema import ModelConfig

MODELS = {
    config.name: config
    for config in (
        ModelConfig("lightclip_resnet18", "resnet18"),
        ModelConfig("lightclip_mobilenet_v2", "mobilenet_v2"),
        ModelConfig("lightclip_swin_nano", "swin_nano", embed_dim=512),
        ModelConfig("lightclip_swin_tiny", "swin_tiny", embed_dim=512),
        ModelConfig("lightclip_swin_small", "swin_small", embed_dim=512),
        ModelConfig("lightclip_swin_base", "swin_base", embed_dim=512),
        # For the demo and for small images: 64 px with a total stride of 16 keep 16 patches.
        ModelConfig(
            "lightclip_demo",
            "resnet18",
            image_size=64,
            image_options={"width": 24, "depths": [1, 1, 1, 1], "last_stride": 1},
            embed_dim=128,
            context_length=24,
            vocab_size=8192,
            text_width=128,
            text_heads=4,
            text_layers=4,
        ),
        *(ModelConfig(f"lightclip_{PREFIX}{network}", f"{PREFIX}{network}", embed_dim=512) for network in NETWORKS),
    )
}


def list_models() -> list[str]:
    """Names that `create_model_and_transforms` and `get_tokenizer` take."""
    return sorted(MODELS)


def preset(name: str) -> ModelConfig:
    """The configuration of a named model.

    Raises:
        ValueError: unknown name; the message offers the nearest ones.
    """
    if not isinstance(name, str) or name not in MODELS:
        nearest = difflib.get_close_matches(str(name)[:100], MODELS, n=3, cutoff=0)
        raise ValueError(f"unknown model {shown(name)}; did you mean {', '.join(nearest)}?")
    return MODELS[name]


def starting_point(model: dict) -> ModelConfig:
    """What the keys of a `model` section override: the preset that its name picks.

    An encoder that no preset stands for has the name `lightclip_<encoder>` and the defaults of `ModelConfig`.

    Raises:
        ValueError: unknown name.
    """
    name, encoder = model.get("name", ModelConfig.name), model.get("image_encoder")
    if isinstance(encoder, str) and name == f"lightclip_{encoder}" and name not in MODELS:
        return ModelConfig(name, encoder)
    return preset(name)


def check_name(model: dict) -> None:
    """Refuse a `model` section whose name and encoder contradict each other; one without a name gets its encoder's.

    The name picks a preset and the other keys override it, but an encoder is what a name stands for.

    Raises:
        ValueError: contradiction; the message says which name to use.
    """
    if not isinstance(model, dict) or not isinstance(model.get("image_encoder"), str):
        return
    encoder = model["image_encoder"]
    fitting = f"lightclip_{encoder}"
    if "name" not in model:
        model["name"] = fitting
    elif starting_point(model).image_encoder != encoder:
        raise ValueError(
            f"model.image_encoder: {encoder!r} is not possible: model.name {model['name']!r} stands for "
            f"{starting_point(model).image_encoder!r}; use model.name={fitting}"
        )
