"""Pictures to network inputs, as users of open_clip expect them: float32 [3, H, W], normalised."""

import numpy as np
from PIL import Image

from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.decode import EncodedImage, pillow_to_rgb
from lightclip_ms.data.image_augment import augment, augment_pixels, draw_augmentation

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
_MAX_ASPECT = 8


class EvalTransform:
    """Bicubic resize of the shorter side, central crop, normalisation: the preprocessing of CLIP."""

    def __init__(self, image_size: int):
        self.image_size = image_size

    def pixels(self, image) -> np.ndarray:
        """Pillow image or encoded bytes to uint8 [H, W, 3], before normalisation. Raises BadRecord (a ValueError)."""
        size = self.image_size
        image = Image.fromarray(_to_rgb(image))
        short = min(image.size)
        reach = _MAX_ASPECT * short  # what lies beyond misses the central crop, but would take memory to resize
        image = image.crop(_centre(image.size, [min(side, reach) for side in image.size]))
        width, height = (size * side // short for side in image.size)
        return np.asarray(image.resize((width, height), Image.BICUBIC).crop(_centre((width, height), (size, size))))

    def __call__(self, image) -> np.ndarray:
        """Pillow image or encoded bytes to float32 [3, H, W]."""
        return normalize(self.pixels(image))


class TrainTransform:
    """Random augmentation (see `image_augment`) and normalisation."""

    def __init__(self, image_size: int, augment_config: AugmentConfig):
        self.image_size = image_size
        self.augment_config = augment_config

    def pixels(self, image, rng: np.random.Generator) -> np.ndarray:
        """Pillow image or encoded bytes to uint8 [H, W, 3], before normalisation. Raises BadRecord (a ValueError)."""
        if isinstance(image, Image.Image):
            pixels = pillow_to_rgb(image)
            parameters = draw_augmentation(rng, *pixels.shape[:2], self.augment_config)
            return augment_pixels(pixels, parameters, self.image_size)
        encoded = EncodedImage(image)
        parameters = draw_augmentation(rng, encoded.height, encoded.width, self.augment_config)
        return augment(encoded, parameters, self.image_size)

    def __call__(self, image, rng: np.random.Generator | None = None) -> np.ndarray:
        """Pillow image or encoded bytes to float32 [3, H, W]; without `rng`, every call differs."""
        return normalize(self.pixels(image, rng or np.random.default_rng()))


def eval_transform(image_size: int) -> EvalTransform:
    """The evaluation transform of a model whose pictures have this side."""
    return EvalTransform(image_size)


def train_transform(image_size: int) -> TrainTransform:
    """The training transform of the paper's recipe, as the defaults of `AugmentConfig` state it."""
    return TrainTransform(image_size, AugmentConfig())


def normalize(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to float32 [3, H, W] with CLIP's mean and deviation."""
    scaled = (pixels.astype(np.float32) / 255 - np.float32(IMAGE_MEAN)) / np.float32(IMAGE_STD)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _centre(size, part) -> tuple[int, int, int, int]:
    """Box (left, top, right, bottom) of a central part, (width, height) both; rounded as torchvision does."""
    left, top = round((size[0] - part[0]) / 2), round((size[1] - part[1]) / 2)
    return left, top, left + part[0], top + part[1]


def _to_rgb(image) -> np.ndarray:
    return pillow_to_rgb(image) if isinstance(image, Image.Image) else EncodedImage(image).decode()
