"""Distributions of the augmentation's parameters, the pixels they make, and the transforms around them."""

import colorsys
import dataclasses
import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from benchmarks.side_by_side import side_by_side
from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.eval_transform import IMAGE_MEAN, IMAGE_STD, eval_transform
from lightclip_ms.data.image_augment import (
    Augmentation,
    Crop,
    Jitter,
    augment,
    augment_pixels,
    colour_matrix,
    draw_augmentation,
    draw_crop,
    draw_jitter,
    resize_crop,
)
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.transforms import TrainTransform, train_transform
from tests.data.data_files import encode, photo, picture

DRAWS = 2000
CONFIG = AugmentConfig()
LUMA = np.array([0.299, 0.587, 0.114])


def drawn(config=CONFIG, height=375, width=500):
    return [draw_augmentation(np.random.default_rng([5, 0, i]), height, width, config) for i in range(DRAWS)]


def is_uniform(values, low, high):
    """Kolmogorov-Smirnov at 0.1 %: with fixed seeds it either always passes or the distribution is wrong."""
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def is_share(count, share, of=DRAWS):
    return abs(count / of - share) < 4 * math.sqrt(share * (1 - share) / of)


def test_crop_area_and_ratio():
    # A square crop of at most half the area always fits, so that no attempt is rejected and both laws show undistorted.
    crops = [draw_crop(np.random.default_rng([1, i]), 600, 600, (0.2, 0.5), CONFIG.crop_ratio) for i in range(DRAWS)]
    assert is_uniform([c.height * c.width / 600**2 for c in crops], 0.2, 0.5)
    assert is_uniform([math.log(c.width / c.height) for c in crops], math.log(3 / 4), math.log(4 / 3))
    assert is_uniform([c.top / (601 - c.height) for c in crops], 0, 1)
    assert is_uniform([c.left / (601 - c.width) for c in crops], 0, 1)


def test_crops_of_the_recipe_follow_rejection_sampling():
    height, width, rng = 375, 500, np.random.default_rng(9)
    expected = []
    while len(expected) < 20_000:
        area, ratio = height * width * rng.uniform(0.2, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            expected.append((h * w / (height * width), w / h))
    crops = [a.crop for a in drawn()]
    assert all(0 <= c.top <= height - c.height and 0 <= c.left <= width - c.width for c in crops)
    found = np.array([(c.height * c.width / (height * width), c.width / c.height) for c in crops])
    for column in range(2):
        assert stats.ks_2samp(found[:, column], np.array(expected)[:, column]).pvalue > 1e-3


@pytest.mark.parametrize("height, width", [(8, 4000), (4000, 8), (8, 8), (1, 1), (1, 50)])
def test_crops_of_extreme_pictures_stay_inside(height, width):
    for i in range(100):
        crop = draw_crop(np.random.default_rng(i), height, width, CONFIG.crop_scale, CONFIG.crop_ratio)
        assert crop.height >= 1 and crop.width >= 1
        assert 0 <= crop.top <= height - crop.height and 0 <= crop.left <= width - crop.width


def test_jitter_ranges_and_order():
    jitters = [draw_jitter(np.random.default_rng([2, i]), CONFIG.jitter) for i in range(DRAWS)]
    for name in ("brightness", "contrast", "saturation"):
        assert is_uniform([getattr(j, name) for j in jitters], 0.6, 1.4)
    assert is_uniform([j.hue for j in jitters], -0.1, 0.1)
    orders, counts = np.unique([j.order for j in jitters], axis=0, return_counts=True)
    assert len(orders) == 24 and stats.chisquare(counts).pvalue > 1e-3
    factors = np.array([j[1:] for j in jitters])
    assert abs(np.corrcoef(factors.T) - np.eye(4)).max() < 0.1


def test_probabilities_and_blur():
    parameters = drawn()
    assert is_share(sum(a.jitter is not None for a in parameters), 0.8)
    assert is_share(sum(a.grayscale for a in parameters), 0.2)
    assert is_share(sum(a.sigma > 0 for a in parameters), 0.5)
    assert is_share(sum(a.flip for a in parameters), 0.5)
    assert is_share(sum(a.flip and a.grayscale and a.jitter is None for a in parameters), 0.5 * 0.2 * 0.2)
    assert is_uniform([a.sigma for a in parameters if a.sigma], 0.1, 2.0)
    never = drawn(
        dataclasses.replace(
            CONFIG, jitter_p=0.0, grayscale_p=0.0, blur_p=0.0, flip_p=0.0, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0)
        ),
        50,
        50,
    )
    assert set(never) == {Augmentation(Crop(0, 0, 50, 50), None, False, 0.0, False)}


def chain(pixels, jitter):
    """Brightness, contrast and saturation one after the other as torchvision defines them, unclipped float64."""
    pixels = pixels.astype(float)
    for operation in jitter.order:
        if operation == 0:
            pixels = pixels * jitter.brightness
        elif operation == 1:
            pixels = jitter.contrast * pixels + (1 - jitter.contrast) * (pixels @ LUMA).mean()
        elif operation == 2:
            pixels = jitter.saturation * pixels + (1 - jitter.saturation) * (pixels @ LUMA)[..., None]
    return pixels


def test_one_matrix_equals_the_chain_of_operations():
    pixels = picture(3)
    for i in range(60):
        jitter = draw_jitter(np.random.default_rng(i), CONFIG.jitter)._replace(hue=0.0)
        matrix = colour_matrix(jitter, False, pixels.mean((0, 1)))
        expected = chain(pixels, jitter)
        np.testing.assert_allclose(pixels @ matrix[:, :3].T + matrix[:, 3], expected, atol=1e-9)
        found = augment_pixels(pixels, Augmentation(Crop(0, 0, 60, 80), jitter, False, 0.0, False), 64)
        small = resize_crop(pixels, Crop(0, 0, 60, 80), 64)
        assert abs(found - np.clip(chain(small, jitter), 0, 255)).max() <= 1
        grey = colour_matrix(jitter, True, pixels.mean((0, 1)))
        np.testing.assert_allclose(
            pixels @ grey[:, :3].T + grey[:, 3], (expected @ LUMA)[..., None].repeat(3, -1), atol=1e-9
        )


def test_hue_turns_colours_as_hsv_does():
    identity = Jitter((0, 1, 2, 3), 1.0, 1.0, 1.0, 1 / 3)
    np.testing.assert_allclose(colour_matrix(identity, False, np.zeros(3))[:, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(200):
        colour, turn = rng.uniform(0.2, 0.8, 3), rng.uniform(-0.1, 0.1)
        turned = colour_matrix(identity._replace(hue=turn), False, np.zeros(3))[:, :3] @ colour
        assert abs(turned.sum() - colour.sum()) < 1e-9
        change = (colorsys.rgb_to_hsv(*turned)[0] - colorsys.rgb_to_hsv(*colour)[0] + 0.5) % 1 - 0.5
        assert abs(change - turn) < 0.025
    grey = np.full(3, 0.4)
    np.testing.assert_allclose(colour_matrix(identity, False, grey)[:, :3] @ grey, grey)


@pytest.mark.parametrize("side", [100, 224, 280, 340, 440])
def test_resize_looks_like_pillow(side):
    rng = np.random.default_rng(side)
    noise = rng.normal(0, 12, (side, side, 3))
    pixels = np.clip(picture(1, side, side) + noise, 0, 255).astype(np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.BILINEAR)).astype(float)
    error = ((resize_crop(pixels, Crop(0, 0, side, side), 224) - wanted) ** 2).mean()
    assert 10 * math.log10(255**2 / max(error, 1e-9)) > 38


def test_flip_and_blur_pixels():
    pixels = picture(2, 64, 64)
    plain = Augmentation(Crop(0, 0, 64, 64), None, False, 0.0, False)
    np.testing.assert_array_equal(augment_pixels(pixels, plain, 64), pixels)
    np.testing.assert_array_equal(augment_pixels(pixels, plain._replace(flip=True), 64), pixels[:, ::-1])
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[32, 32] = 255
    for sigma in (0.8, 1.4, 2.0):
        spot = augment_pixels(dot, plain._replace(crop=Crop(0, 0, 65, 65), sigma=sigma), 65)[..., 0].astype(float)
        spread = math.sqrt((spot.sum(0) * (np.arange(65) - 32) ** 2).sum() / spot.sum())
        assert abs(spread - sigma) < 0.15 * sigma


def test_reduced_decoding_changes_little():
    pixels = picture(4, 600, 800)
    image = EncodedImage(encode(pixels, quality=92))
    parameters = Augmentation(Crop(20, 100, 540, 640), None, False, 0.0, False)
    found = augment(image, parameters, 128)  # decoded at a quarter
    wanted = np.asarray(Image.fromarray(pixels).resize((128, 128), Image.BILINEAR, box=(100, 20, 740, 560)))
    assert np.abs(found.astype(float) - wanted).mean() < 2


def test_transform_is_a_function_of_its_generator():
    transform = TrainTransform(32, CONFIG)
    data = encode(picture(), quality=90)
    first = [transform.pixels(data, np.random.default_rng(i)) for i in range(4)]
    again = [transform.pixels(data, np.random.default_rng(i)) for i in range(4)]
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (32, 32, 3) and first[0].dtype == np.uint8 and len({a.tobytes() for a in first}) == 4


def reference_eval(image, size):
    """CLIP's preprocessing as torchvision computes it."""
    width, height = image.size
    wide = (int(size * width / height), size) if height <= width else (size, int(size * height / width))
    image = image.resize(wide, Image.BICUBIC)
    left, top = int(round((wide[0] - size) / 2.0)), int(round((wide[1] - size) / 2.0))
    pixels = np.asarray(image.crop((left, top, left + size, top + size))).astype(np.float64) / 255
    return ((pixels - IMAGE_MEAN) / IMAGE_STD).transpose(2, 0, 1)


@pytest.mark.parametrize("height, width", [(60, 80), (81, 47), (64, 64), (30, 30), (64, 201)])
def test_evaluation_equals_clip(height, width):
    pixels = picture(7, height, width)
    transform = eval_transform(64)
    expected = reference_eval(Image.fromarray(pixels), 64)
    for given in (Image.fromarray(pixels), encode(pixels, "PNG")):
        found = transform(given)
        assert found.dtype == np.float32 and found.shape == (3, 64, 64) and found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_evaluation_of_a_strip_needs_no_memory():
    assert eval_transform(224)(encode(picture(1, 8, 30_000))).shape == (3, 224, 224)


def test_transforms_take_pillow_images_and_bytes():
    image = Image.fromarray(picture()).convert("P")
    transform = train_transform(48)
    for given in (image, encode(picture())):
        found = transform(given, np.random.default_rng(0))
        assert found.shape == (3, 48, 48) and found.dtype == np.float32
    assert not np.array_equal(transform(image), transform(image))
    for wrong in (b"", b"nonsense"):
        with pytest.raises(BadRecord):
            transform(wrong)
        with pytest.raises(ValueError):
            eval_transform(48)(wrong)


def test_the_whole_augmentation_looks_like_a_chain_of_pillow_operations():
    photos = [photo(seed) for seed in range(8)]
    no_colour, no_hue = (
        dataclasses.replace(CONFIG, jitter_p=0.0),
        dataclasses.replace(CONFIG, jitter=(0.4, 0.4, 0.4, 0.0)),
    )
    differences = [side_by_side(photos, 224, config)[1] for config in (no_colour, no_hue, CONFIG)]
    # Of 255: rounding, then what Pillow clips between operations, then hue, which differs on purpose.
    assert differences[0] < 0.8 and differences[1] < 1.5 and differences[2] < 3.5, differences


def test_a_large_crop_is_averaged_first_and_looks_the_same(monkeypatch):
    pixels = picture(3, 2600, 2100)
    crop = Crop(100, 50, 2400, 2000)
    averaged = resize_crop(pixels, crop, 64)
    monkeypatch.setattr("lightclip_ms.data.image_augment._LARGE", 1 << 30)
    assert np.abs(averaged.astype(int) - resize_crop(pixels, crop, 64)).mean() < 1
