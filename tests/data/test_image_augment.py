"""Distributions of the augmentation's parameters, the pixels they make, and the transforms around them."""

import colorsys
import dataclasses
import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from benchmarks.side_by_side import recolour_with_pillow, side_by_side
from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.eval_transform import IMAGE_MEAN, IMAGE_STD, eval_transform
from lightclip_ms.data.image_augment import (
    Augmentation,
    Crop,
    Jitter,
    augment,
    augment_pixels,
    draw_augmentation,
    draw_crop,
    draw_jitter,
    recolour,
    resize_crop,
    shift_hue,
)
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.transforms import TrainTransform, train_transform
from tests import ROOT
from tests.data.data_files import encode, photo, picture

DRAWS = 2000
CONFIG = AugmentConfig()


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


def blend(pixels, other, factor):
    """Pillow's `Image.blend` of uint8 pictures: clipped, fractions dropped."""
    return np.clip(other + factor * (pixels.astype(float) - other), 0, 255).astype(np.uint8)


def luma(pixels):
    """Pillow's mode L of uint8 [H, W, 3]: uint8 [H, W]."""
    return ((pixels.astype(np.int64) @ [19595, 38470, 7471] + 0x8000) >> 16).astype(np.uint8)


def turned_hue(pixels, turn):
    """Pillow's conversion to HSV and back with the hue moved by whole levels, as torchvision does it."""
    rgb = pixels.astype(np.float32)  # as Pillow computes: which level a hue belongs to depends on it
    value, low = rgb.max(-1), rgb.min(-1)
    chroma = np.where(value > low, value - low, 1)
    red, green, blue = np.moveaxis((value[..., None] - rgb) / chroma[..., None], -1, 0)
    hue = np.select([rgb[..., 0] == value, rgb[..., 1] == value], [blue - green, 2 + red - blue], 4 + green - red)
    levels = np.where(value > low, np.floor(hue / 6 % 1 * 255), 0)
    saturation = np.where(value > low, np.floor((value - low) / np.maximum(value, 1) * 255), 0) / 255
    sector = (levels + int(turn * 255)) % 256 * 6 / 255
    part = sector - np.floor(sector)
    p, q, t = (np.round(value * (1 - saturation * share)) for share in (np.ones_like(part), part, 1 - part))
    cases = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    chosen = (np.floor(sector) % 6).astype(int)
    return np.stack([np.choose(chosen, [case[channel] for case in cases]) for channel in range(3)], -1).astype(np.uint8)


def reference(pixels, jitter):
    """torchvision's ColorJitter on a Pillow picture, one operation after the other in uint8."""
    for operation in jitter.order:
        if operation == 0:
            pixels = blend(pixels, 0, jitter.brightness)
        elif operation == 1:
            pixels = blend(pixels, int(luma(pixels).mean() + 0.5), jitter.contrast)
        elif operation == 2:
            pixels = blend(pixels, luma(pixels)[..., None].astype(float), jitter.saturation)
        else:
            pixels = turned_hue(pixels, jitter.hue)
    return pixels


def photographs(count):
    """CIFAR-10's, enlarged, and as many pictures in muted colours made here; only these without that data set."""
    shards = ROOT.parent / "shared" / "data" / "cifar10" / "test-00000.tar"
    pictures = [EncodedImage(photo(seed)).decode()[::3, ::3] for seed in range(count)]
    if shards.exists():
        source = open_pairs(str(shards))
        small = [Image.open(io.BytesIO(source.read(7 * index).image)).convert("RGB") for index in range(count)]
        pictures += [np.asarray(image.resize((128, 128), Image.BICUBIC)) for image in small]
    return pictures


def differences(pictures, grayscale=False):
    found = []
    for number, pixels in enumerate(pictures):
        jitter = draw_jitter(np.random.default_rng(number), CONFIG.jitter)
        wanted = reference(pixels, jitter)
        wanted = luma(wanted)[..., None].repeat(3, -1) if grayscale else wanted
        found.append((recolour(pixels, jitter, grayscale).astype(int) - wanted).ravel())
    return np.concatenate(found)


def test_the_reference_is_what_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for number in range(12):
        jitter = draw_jitter(np.random.default_rng(number), CONFIG.jitter)
        found = np.abs(reference(pixels, jitter).astype(int) - recolour_with_pillow(pixels, jitter))
        assert (found > 1).mean() < 0.003 and found.mean() < 0.05  # a level of hue more or less at the edge of one


@pytest.mark.parametrize("grayscale", [False, True])
def test_colour_jitter_agrees_with_torchvisions_on_photographs(grayscale):
    found = differences(photographs(10), grayscale)
    assert np.abs(found).mean() < 0.6 and np.percentile(np.abs(found), 99) <= 4 and abs(found.mean()) < 0.3


def test_colour_jitter_agrees_with_torchvisions_on_saturated_colours():
    colours = np.array([colorsys.hsv_to_rgb(h / 96, s, v) for h in range(96) for s in (1, 0.7) for v in (1, 0.6, 0.2)])
    pixels = np.round(255 * colours).astype(np.uint8).reshape(24, 24, 3)
    found = np.abs(differences([pixels] * 48))
    # Pillow keeps 255 levels of hue: one of them is up to 6 of a saturated colour's 255, and contrast adds 40 %.
    assert found.mean() < 1 and np.percentile(found, 99) <= 8 and found.max() <= 24
    only_hue = Jitter((3,), 1.0, 1.0, 1.0, 0.1)
    red = np.tile(np.uint8([255, 0, 0]), (8, 8, 1))
    assert np.abs(recolour(red, only_hue, False).astype(int) - reference(red, only_hue)).max() <= 4


@pytest.mark.parametrize("turn", [-0.5, -0.2, -0.1, -1 / 12, -0.01, 0.03, 1 / 12, 0.1, 0.4])
def test_hue_turns_colours_as_hsv_does(turn):
    colours = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    wanted = [
        colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        for hue, saturation, value in (colorsys.rgb_to_hsv(*colour) for colour in colours.reshape(-1, 3) / 255)
    ]
    rounding = 0.51 * math.ceil(12 * abs(turn)) + 0.5
    assert np.abs(shift_hue(colours, turn) - 255 * np.reshape(wanted, colours.shape)).max() <= rounding


def test_neutral_factors_change_nothing():
    pixels = picture(3)
    neutral = Jitter((2, 3, 0, 1), 1.0, 1.0, 1.0, 0.0)
    np.testing.assert_array_equal(recolour(pixels, neutral, False), pixels)
    np.testing.assert_allclose(recolour(pixels, None, True), luma(pixels)[..., None].repeat(3, -1), atol=1)


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
    no_colour = dataclasses.replace(CONFIG, jitter_p=0.0)
    found = [side_by_side(photos, 224, config)[1] for config in (no_colour, CONFIG)]
    assert found[0] < 0.8 and found[1] < 1.1, found  # of 255


def test_a_large_crop_is_averaged_first_and_looks_the_same(monkeypatch):
    pixels = picture(3, 2600, 2100)
    crop = Crop(100, 50, 2400, 2000)
    averaged = resize_crop(pixels, crop, 64)
    monkeypatch.setattr("lightclip_ms.data.image_augment._LARGE", 1 << 30)
    assert np.abs(averaged.astype(int) - resize_crop(pixels, crop, 64)).mean() < 1
