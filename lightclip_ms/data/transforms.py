"""Pictures to network inputs in training, with augmentation: float32 [3, H, W], normalised."""

import numpy as np

from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.eval_transform import normalize, to_rgb
from lightclip_ms.data.image_augment import Augmentation, augment, augment_pixels, draw_augmentation


class TrainTransform:
    """Random augmentation (see `image_augment`) and normalisation."""

    def __init__(self, image_size: int, augment_config: AugmentConfig):
        self.image_size = image_size
        self.augment_config = augment_config

    def pixels(self, image, rng: np.random.Generator) -> np.ndarray:
        """Pillow image or encoded bytes to uint8 [H, W, 3], before normalisation. Raises BadRecord (a ValueError)."""
        if not isinstance(image, bytes):
            pixels = to_rgb(image)
            parameters = draw_augmentation(rng, *pixels.shape[:2], self.augment_config)
            return augment_pixels(pixels, parameters, self.image_size)
        return self.augment(*self.draw(image, rng))

    def draw(self, image: bytes, rng: np.random.Generator) -> tuple[EncodedImage, Augmentation]:
        """All that `augment` needs, and that needs the generator; the picture is not decoded. Raises BadRecord."""
        encoded = EncodedImage(image)
        return encoded, draw_augmentation(rng, encoded.height, encoded.width, self.augment_config)

    def augment(self, encoded: EncodedImage, parameters: Augmentation) -> np.ndarray:
        """What `draw` gave, decoded and augmented: uint8 [H, W, 3]. Raises BadRecord for damaged data."""
        return augment(encoded, parameters, self.image_size)

    def __call__(self, image, rng: np.random.Generator | None = None) -> np.ndarray:
        """Pillow image or encoded bytes to float32 [3, H, W]; without `rng`, every call differs."""
        return normalize(self.pixels(image, rng or np.random.default_rng()))


def train_transform(image_size: int) -> TrainTransform:
    """The training transform of the paper's recipe, as the defaults of `AugmentConfig` state it."""
    return TrainTransform(image_size, AugmentConfig())
