"""MoCo v2's augmentation: random numbers become parameters (`draw_*`), parameters become pixels (`augment`).

Both halves are pure. Brightness, contrast, saturation, hue and grayscale are all linear in the colours, so whatever of
them is drawn is multiplied into one 3x4 matrix that touches each pixel once. Two differences to a chain of Pillow
operations follow: values are clipped once, at the end, and hue turns colours around the grey axis instead of moving
HSV's angle.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from lightclip_ms.data.decode import EncodedImage

_LUMA = np.array([0.299, 0.587, 0.114])
_IDENTITY = np.eye(3, 4)
_CROP_ATTEMPTS = 10
_LARGE = 1 << 22  # pixels of a crop; averaging larger ones first bounds the time of the blur
_MEAN_ROWS = 4  # every fourth row tells the mean that contrast turns around closely enough


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


def colour_matrix(jitter: Jitter | None, grayscale: bool, mean) -> np.ndarray:
    """The colour operations in their order as one affine map [3, 4] of (r, g, b, 1); `mean` is the picture's [3]."""
    matrix = _IDENTITY
    for operation in jitter.order if jitter else ():
        if operation == 0:
            matrix = jitter.brightness * matrix
        elif operation == 1:
            grey = _LUMA @ (matrix[:, :3] @ mean + matrix[:, 3])
            matrix = jitter.contrast * matrix
            matrix[:, 3] += (1 - jitter.contrast) * grey
        elif operation == 2:
            matrix = jitter.saturation * matrix + (1 - jitter.saturation) * (_LUMA @ matrix)
        else:
            matrix = _hue_rotation(jitter.hue) @ matrix
    return np.tile(_LUMA @ matrix, (3, 1)) if grayscale else matrix


def _hue_rotation(turn: float) -> np.ndarray:
    """Rotation of the colour cube around the grey axis, [3, 3]; a third of a turn takes red to green."""
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn) / math.sqrt(3)
    rest = (1 - cosine) / 3
    return np.array(
        [
            [cosine + rest, rest - sine, rest + sine],
            [rest + sine, cosine + rest, rest - sine],
            [rest - sine, rest + sine, cosine + rest],
        ]
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
    return cv2.transform(pixels, colour_matrix(jitter, grayscale, np.array(cv2.mean(pixels[::_MEAN_ROWS])[:3])))


def blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of uint8 [H, W, 3]; the kernel ends at 2.5 sigma, beyond which 1 % of it would lie."""
    return _gaussian_blur(pixels, 2 * math.ceil(2.5 * sigma) + 1, sigma, sigma)


def _gaussian_blur(pixels: np.ndarray, taps: int, sigma_x: float, sigma_y: float) -> np.ndarray:
    """What `cv2.GaussianBlur` does, to 1 of 255, in half its time: that one sums in fixed point, exactly."""
    return cv2.sepFilter2D(
        pixels, -1, cv2.getGaussianKernel(taps, sigma_x, cv2.CV_32F), cv2.getGaussianKernel(taps, sigma_y, cv2.CV_32F)
    )
