"""The same augmentation parameters applied by the package and by Pillow, for the eye."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from benchmarks.pil_pipeline import shift_hue
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.image_augment import Augmentation, Jitter, augment, draw_augmentation

_COLUMNS = 6
_GAP = 4


def recolour_with_pillow(pixels: np.ndarray, jitter: Jitter) -> np.ndarray:
    """Colour jitter as torchvision applies it to a Pillow picture, uint8 [H, W, 3]."""
    image = Image.fromarray(pixels)
    for operation in jitter.order:
        image = (
            lambda i: ImageEnhance.Brightness(i).enhance(jitter.brightness),
            lambda i: ImageEnhance.Contrast(i).enhance(jitter.contrast),
            lambda i: ImageEnhance.Color(i).enhance(jitter.saturation),
            lambda i: shift_hue(i, jitter.hue),
        )[operation](image)
    return np.asarray(image)


def augment_with_pillow(data: bytes, parameters: Augmentation, size: int) -> np.ndarray:
    """What a chain of Pillow operations makes of these parameters, uint8 [size, size, 3]."""
    top, left, height, width = parameters.crop
    image = Image.open(io.BytesIO(data)).convert("RGB").crop((left, top, left + width, top + height))
    image = image.resize((size, size), Image.BILINEAR)
    if parameters.jitter:
        image = Image.fromarray(recolour_with_pillow(np.asarray(image), parameters.jitter))
    if parameters.grayscale:
        image = image.convert("L").convert("RGB")
    if parameters.sigma:
        image = image.filter(ImageFilter.GaussianBlur(parameters.sigma))
    return np.asarray(ImageOps.mirror(image) if parameters.flip else image)


def side_by_side(photos: list[bytes], size: int, config) -> tuple[Image.Image, float]:
    """Rows of pictures, the package's above Pillow's, and the mean absolute difference of their values."""
    pairs = []
    for number, data in enumerate(photos):
        image = EncodedImage(data)
        parameters = draw_augmentation(np.random.default_rng([0, 0, number]), image.height, image.width, config)
        pairs.append((augment(image, parameters, size), augment_with_pillow(data, parameters, size)))
    rows = -(-len(pairs) // _COLUMNS)
    step, row_height = size + _GAP, 2 * size + 4 * _GAP
    sheet = Image.new("RGB", (_COLUMNS * step + 60, rows * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left, top = number % _COLUMNS * step + 60, number // _COLUMNS * row_height
        for half, (name, pixels) in enumerate(zip(("ours", "Pillow"), pair)):
            sheet.paste(Image.fromarray(pixels), (left, top + half * (size + _GAP)))
            draw.text((4, top + half * (size + _GAP) + size // 2), name, "black")
    difference = np.mean([np.abs(ours.astype(float) - pillow).mean() for ours, pillow in pairs])
    return sheet, float(difference)
