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
        nearest = difflib.get_close_matches(str(name), IMAGE_ENCODERS, n=3, cutoff=0)
        raise ValueError(f"unknown image encoder {name!r}; did you mean {', '.join(nearest)}?")
    encoder, preset = IMAGE_ENCODERS[name]
    known = list(inspect.signature(encoder).parameters)[2:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"image encoder {name}: unknown option {', '.join(unknown)}; it takes {', '.join(known) or 'none'}"
        )
    return encoder(image_size, embed_dim, **{**preset, **options})
