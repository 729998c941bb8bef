"""Pictures to network inputs, as users of open_clip expect them: float32 [3, H, W], normalised.

Apart from training's transforms, whose OpenCV a deployed model does without.
"""

import os

import numpy as np
from PIL import Image

from lightclip_ms.data.decode import EncodedImage, pillow_to_rgb

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_ASPECT = 8
_LARGE, _GAP = 1 << 23, 4.0  # pixels above which a picture is first averaged to four times the size that is wanted


class EvalTransform:
    """Bicubic resize of the shorter side, central crop, normalisation: the preprocessing of CLIP.

    Args:
        image_size: S, side of the result in pixels.
        mean, std: of red, green and blue in 0 to 1.
    """

    def __init__(self, image_size: int, mean=IMAGE_MEAN, std=IMAGE_STD):
        self.image_size = image_size
        self.mean, self.std = tuple(mean), tuple(std)

    def pixels(self, image) -> np.ndarray:
        """Pillow image or encoded bytes to uint8 [S, S, 3], before normalisation. Raises BadRecord (a ValueError)."""
        size = self.image_size
        image = Image.fromarray(to_rgb(image))
        short = min(image.size)
        reach = MAX_ASPECT * short  # what lies beyond misses the central crop, but would take memory to resize
        image = image.crop(_centre(image.size, [min(side, reach) for side in image.size]))
        width, height = (size * side // short for side in image.size)
        gap = _GAP if image.width * image.height > _LARGE else None
        image = image.resize((width, height), Image.BICUBIC, reducing_gap=gap)
        return np.asarray(image.crop(_centre((width, height), (size, size))))

    def __call__(self, image) -> np.ndarray:
        """Pillow image or encoded bytes to float32 [3, S, S]. Raises ValueError for anything else."""
        return normalize(self.pixels(image), self.mean, self.std)


def eval_transform(image_size: int) -> EvalTransform:
    """The evaluation transform of a model whose pictures have this side."""
    return EvalTransform(image_size)


def normalize(pixels: np.ndarray, mean=IMAGE_MEAN, std=IMAGE_STD) -> np.ndarray:
    """uint8 [H, W, 3] to float32 [3, H, W] with CLIP's mean and deviation, or others."""
    scaled = (pixels.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _centre(size, part) -> tuple[int, int, int, int]:
    """Box (left, top, right, bottom) of a central part, (width, height) both; rounded as torchvision does."""
    left, top = round((size[0] - part[0]) / 2), round((size[1] - part[1]) / 2)
    return left, top, left + part[0], top + part[1]


def to_rgb(image) -> np.ndarray:
    """Pillow image or encoded bytes to uint8 [H, W, 3]. Raises ValueError for anything else, BadRecord if damaged."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return EncodedImage(bytes(image)).decode()
    if isinstance(image, Image.Image):
        return pillow_to_rgb(image)
    if isinstance(image, (str, os.PathLike)):
        raise ValueError(f"got the path {os.fspath(image)!r}: pass Image.open(path), or the file's content as bytes")
    if isinstance(image, np.ndarray):
        raise ValueError(
            f"got an array {list(image.shape)} of {image.dtype}: pass Image.fromarray(array), where array is uint8 "
            "[H, W, 3]"
        )
    raise ValueError(f"got {type(image).__name__}: pass one Pillow image, or the content of a picture file as bytes")
