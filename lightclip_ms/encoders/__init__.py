"""Image encoders by name (contract.py says what each must offer), and the text transformer."""

import difflib
import inspect
from functools import partial

from lightclip_ms.config.mindcv_networks import NETWORKS, PREFIX
from lightclip_ms.encoders.mindcv import MindCVEncoder
from lightclip_ms.encoders.mobilenet_v2 import MobileNetV2
from lightclip_ms.encoders.resnet import ResNet
from lightclip_ms.encoders.swin import SwinTransformer
from lightclip_ms.encoders.text_transformer import TextTransformer

# name: (class, the options that differ from the class's defaults)
IMAGE_ENCODERS = {
    "resnet18": (ResNet, {}),
    "mobilenet_v2": (MobileNetV2, {}),
    "swin_nano": (SwinTransformer, {}),
    "swin_tiny": (SwinTransformer, {"embed": 96}),
    "swin_small": (SwinTransformer, {"embed": 96, "depths": (2, 2, 18, 2)}),
    "swin_base": (SwinTransformer, {"embed": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)}),
    **{f"{PREFIX}{network}": (partial(MindCVEncoder, network), {}) for network in NETWORKS},
}

__all__ = [
    "IMAGE_ENCODERS",
    "MindCVEncoder",
    "MobileNetV2",
    "ResNet",
    "SwinTransformer",
    "TextTransformer",
    "create_image_encoder",
]


def create_image_encoder(name: str, image_size: int, embed_dim: int, **options):
    """Build an image encoder for `image_size` px with embeddings of `embed_dim`.

    Raises:
        ValueError: unknown name or option, or a size or option that the encoder cannot take.
    """
    if name not in IMAGE_ENCODERS:
        nearest = difflib.get_close_matches(str(name)[:80], IMAGE_ENCODERS, n=3, cutoff=0)
        raise ValueError(f"unknown image encoder {str(name)[:80]!r}; did you mean {', '.join(nearest)}?")
    encoder, preset = IMAGE_ENCODERS[name]
    parameters = list(inspect.signature(encoder).parameters.values())[2:]
    known = {parameter.name: preset.get(parameter.name, parameter.default) for parameter in parameters}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"image encoder {name}: unknown option {', '.join(unknown)}; it takes {', '.join(known) or 'none'}"
        )
    for option, value in options.items():
        if not _fits(value, known[option]):
            raise ValueError(f"image encoder {name}: {option} is {value!r}, give it the form of {known[option]!r}")
    return encoder(image_size, embed_dim, **{**preset, **options})


def _fits(value, default) -> bool:
    """Whether an option is like its default: a positive number of that type, or as many of them."""
    if isinstance(default, (tuple, list)):
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(default)
            and all(_fits(item, like) for item, like in zip(value, default))
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return type(value) is type(default)
    return value > 0 and (isinstance(default, float) or isinstance(value, type(default)))
