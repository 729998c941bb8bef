"""Models by name; the only file that knows which encoders, sizes and tokenizers belong together."""

import difflib

from lightclip_ms.config import ModelConfig

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
    if name not in MODELS:
        nearest = difflib.get_close_matches(str(name), MODELS, n=3, cutoff=0)
        raise ValueError(f"unknown model {name!r}; did you mean {', '.join(nearest)}?")
    return MODELS[name]


def create_model(config: ModelConfig):
    """A `LightCLIP` with fresh weights.

    Raises:
        ValueError: unknown encoder or option, or sizes that do not fit together.
    """
    from lightclip_ms.encoders import TextTransformer, create_image_encoder
    from lightclip_ms.model.lightclip import LightCLIP

    visual = create_image_encoder(config.image_encoder, config.image_size, config.embed_dim, **config.image_options)
    text = TextTransformer(
        config.vocab_size,
        config.context_length,
        config.text_width,
        config.text_heads,
        config.text_layers,
        config.embed_dim,
    )
    return LightCLIP(visual, text)


def create_model_and_transforms(name: str, pretrained: str | None = None):
    """A model and the two transforms its pictures need.

    Args:
        name: one of `list_models()`.
        pretrained: path of a checkpoint of that model; None leaves fresh weights.

    Returns:
        (`LightCLIP`, training transform, evaluation transform).

    Raises:
        ValueError: unknown name, or a checkpoint of another architecture. FileNotFoundError: no such checkpoint.
    """
    config = preset(name)
    model = create_model(config)
    if pretrained is not None:
        from lightclip_ms.train.checkpoint import load_model_weights

        load_model_weights(model, pretrained)
    from lightclip_ms.data import transforms

    return model, transforms.train_transform(config.image_size), transforms.eval_transform(config.image_size)


def get_tokenizer(name: str):
    """The `Tokenizer` whose ids the named model's text encoder was built for."""
    from lightclip_ms.data import Tokenizer

    config = preset(name)
    return Tokenizer(config.context_length, config.vocab_size)
