"""Image encoders by name (contract.py says what each must offer), and the text transformer."""

import inspect

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
}

__all__ = ["IMAGE_ENCODERS", "MobileNetV2", "ResNet", "SwinTransformer", "TextTransformer", "create_image_encoder"]


def create_image_encoder(name: str, image_size: int, embed_dim: int, **options):
    """Build an image encoder for `image_size` px with embeddings of `embed_dim`.

    Raises:
        ValueError: unknown name or option, or a size or option that the encoder cannot take.
    """
    if name not in IMAGE_ENCODERS:
        raise ValueError(f"unknown image encoder {name!r}; it is one of {', '.join(sorted(IMAGE_ENCODERS))}")
    encoder, preset = IMAGE_ENCODERS[name]
    known = list(inspect.signature(encoder).parameters)[2:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"image encoder {name}: unknown option {', '.join(unknown)}; it takes {', '.join(known)}")
    return encoder(image_size, embed_dim, **{**preset, **options})
