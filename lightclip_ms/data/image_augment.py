"""MoCo v2's augmentation: random numbers become parameters (`draw_*`), parameters become pixels (`augment`).

Both halves are pure. The colour operations are torchvision's on uint8: each clips and drops fractions, as Pillow does,
and hue moves HSV's angle.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from lightclip_ms.data.decode import EncodedImage

_LUMA = np.array([0.299, 0.587, 0.114])
_CROP_ATTEMPTS = 10
_LARGE = 1 << 22  # pixels of a crop; averaging larger ones first bounds the time of the blur
_MEAN_ROWS = 4  # every fourth row tells the mean that contrast turns around closely enough
_FRACTION = 0.498  # taken off before rounding to drop fractions; of whole numbers nothing is lost
_OFFSET = np.full((3, 1), -_FRACTION)
_NEARLY_DIAGONAL = np.eye(3) + 1e-6  # for a diagonal matrix OpenCV has slower code


class Crop(NamedTuple):
    """Part of a picture, in its pixels."""

    top: int
    left: int
    height: int
    width: int


class Jitter(NamedTuple):
    """Factors of the colour operations and the order in which they apply (0 is brightness, 3 is hue)."""

    order: tuple
    brightness: float
    contrast: float
    saturation: float
    hue: float  # turn, in full circles


class Augmentation(NamedTuple):
    """Everything random about one augmented picture."""

    crop: Crop
    jitter: Jitter | None
    grayscale: bool
    sigma: float  # of the Gaussian blur in output pixels; 0 is none
    flip: bool


def draw_crop(rng: np.random.Generator, height: int, width: int, scale, ratio) -> Crop:
    """Random resized crop: area uniform in `scale`, log of width / height uniform in `ratio`, up to ten attempts."""
    draws = rng.random((_CROP_ATTEMPTS, 2)).tolist()
    place = rng.random(2).tolist()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for area, shape in draws:
        pixels = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = math.exp(low + (high - low) * shape)
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Crop(int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w)
    # Too long or too tall for every attempt: the largest central part of an allowed shape.
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    return Crop((height - h) // 2, (width - w) // 2, h, w)


def draw_jitter(rng: np.random.Generator, strengths) -> Jitter:
    """Factors uniform in [1 - s, 1 + s] (hue in [-s, s]) and a random order."""
    brightness, contrast, saturation, hue = strengths
    spread = (2 * rng.random(4) - 1).tolist()
    return Jitter(
        tuple(rng.permutation(4).tolist()),
        1 + brightness * spread[0],
        1 + contrast * spread[1],
        1 + saturation * spread[2],
        hue * spread[3],
    )


def draw_augmentation(rng: np.random.Generator, height: int, width: int, config) -> Augmentation:
    """All parameters for a picture of this size; `config` is an `AugmentConfig`."""
    crop = draw_crop(rng, height, width, config.crop_scale, config.crop_ratio)
    chance = rng.random(5).tolist()
    sigma = config.blur_sigma[0] + (config.blur_sigma[1] - config.blur_sigma[0]) * chance[4]
    return Augmentation(
        crop=crop,
        jitter=draw_jitter(rng, config.jitter) if chance[0] < config.jitter_p else None,
        grayscale=chance[1] < config.grayscale_p,
        sigma=sigma if chance[2] < config.blur_p else 0.0,
        flip=chance[3] < config.flip_p,
    )


def resize_crop(pixels: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """Part of uint8 [H, W, 3] as [size, size, 3]: bilinear, after a small blur where it shrinks.

    The blur makes up for what bilinear sampling skips: the two together have the variance of Pillow's antialiased
    triangle filter, at a quarter of its cost.
    """
    pixels = pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    height, width = pixels.shape[:2]
    if height * width > _LARGE:
        height, width = (side // max(1, side // (4 * size)) for side in (height, width))
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    shrink = max(height, width) / size
    if shrink > 1.2:
        sigmas = [math.sqrt(max((side / size) ** 2 - 1, 0) / 6 + 0.1) for side in (width, height)]
        taps = 3 if shrink < 2 else 2 * math.ceil(2 * max(sigmas)) + 1
        pixels = _gaussian_blur(pixels, taps, *sigmas)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)


def augment(image: EncodedImage, parameters: Augmentation, size: int) -> np.ndarray:
    """Decode and augment: uint8 [size, size, 3]. Raises BadRecord for damaged data."""
    crop = parameters.crop
    # Half as many pixels cost less to decode, and whatever the crop keeps of them is still enough.
    reduction = next((r for r in (8, 4, 2) if min(crop.height, crop.width) >= r * size), 1)
    pixels = image.draft(reduction)
    rows, columns = pixels.shape[0] / image.height, pixels.shape[1] / image.width
    crop = Crop(int(crop.top * rows), int(crop.left * columns), int(crop.height * rows), int(crop.width * columns))
    return augment_pixels(pixels, parameters._replace(crop=crop), size)


def augment_pixels(pixels: np.ndarray, parameters: Augmentation, size: int) -> np.ndarray:
    """All but the decoding, on uint8 [H, W, 3]: uint8 [size, size, 3]."""
    pixels = resize_crop(pixels, parameters.crop, size)
    if parameters.jitter or parameters.grayscale:
        pixels = recolour(pixels, parameters.jitter, parameters.grayscale)
    if parameters.sigma:
        pixels = blur(pixels, parameters.sigma)
    return cv2.flip(pixels, 1) if parameters.flip else pixels


def recolour(pixels: np.ndarray, jitter: Jitter | None, grayscale: bool) -> np.ndarray:
    """Colour jitter and grayscale on uint8 [H, W, 3]."""
    factors = jitter[1:] if jitter else ()
    for operation in jitter.order if jitter else ():
        if factors[operation] != _NEUTRAL[operation]:
            pixels = _OPERATIONS[operation](pixels, factors[operation])
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) if grayscale else pixels


def _brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.convertScaleAbs(pixels, alpha=factor, beta=-_FRACTION)  # below 0 are only fractions


def _contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    grey = round(_LUMA @ cv2.mean(pixels[::_MEAN_ROWS])[:3])
    return cv2.transform(
        pixels, np.hstack([factor * _NEARLY_DIAGONAL, np.full((3, 1), (1 - factor) * grey - _FRACTION)])
    )


def _saturation(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.transform(pixels, np.hstack([factor * np.eye(3) + (1 - factor) * _LUMA, _OFFSET]))


def shift_hue(pixels: np.ndarray, turn: float) -> np.ndarray:
    """HSV's angle moved by `turn` full circles, value and saturation kept: uint8 [H, W, 3].

    Around the circle a channel stays at the pixel's highest value for a third, at its lowest for another, and changes
    linearly between them. So the channel that it follows tells how far away its next change is, without angles or
    divisions. One pass moves by at most a twelfth of the circle.
    """
    steps = math.ceil(12 * abs(turn))
    for _ in range(steps):
        channels = cv2.split(pixels)
        high = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
        low = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
        reach = cv2.convertScaleAbs(cv2.subtract(high, low), alpha=6 * abs(turn) / steps)
        rises_below, falls_above = cv2.add(low, reach), cv2.subtract(high, reach)
        shifted = []
        for number, channel in enumerate(channels):
            leader = channels[(number + (1 if turn > 0 else 2)) % 3]
            # Differences below 0 become 0.
            moved = cv2.add(channel, cv2.subtract(rises_below, leader))
            moved = cv2.subtract(moved, cv2.subtract(leader, falls_above))
            shifted.append(cv2.min(cv2.max(moved, low), high))
        pixels = cv2.merge(shifted)
    return pixels


_OPERATIONS = (_brightness, _contrast, _saturation, shift_hue)  # as the numbers of `Jitter.order`
_NEUTRAL = (1.0, 1.0, 1.0, 0.0)


def blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of uint8 [H, W, 3]; the kernel ends at 2.5 sigma, beyond which 1 % of it would lie."""
    return _gaussian_blur(pixels, 2 * math.ceil(2.5 * sigma) + 1, sigma, sigma)


def _gaussian_blur(pixels: np.ndarray, taps: int, sigma_x: float, sigma_y: float) -> np.ndarray:
    """What `cv2.GaussianBlur` does, to 1 of 255, in half its time: that one sums in fixed point, exactly."""
    return cv2.sepFilter2D(
        pixels, -1, cv2.getGaussianKernel(taps, sigma_x, cv2.CV_32F), cv2.getGaussianKernel(taps, sigma_y, cv2.CV_32F)
    )
