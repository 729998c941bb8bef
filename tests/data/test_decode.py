"""Decoding of pictures of every kind, and the rules for those that cannot be used."""

import io

import numpy as np
import pytest
from PIL import Image

from lightclip_ms.data import decode
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.picture_header import count_scans, stated_size
from lightclip_ms.data.skipped import BadRecord
from tests.data.data_files import encode, photo, picture
from tests.fuzz.make_pictures import bmp

PIXELS = picture()


def open_and_decode(data):
    image = EncodedImage(data)
    pixels = image.decode()
    assert pixels.shape == (image.height, image.width, 3) and pixels.dtype == np.uint8
    return pixels


def mean_difference(a, b):
    return np.abs(a.astype(float) - b.astype(float)).mean()


@pytest.mark.parametrize(
    "format, mode, options, tolerance",
    [
        ("JPEG", "RGB", {"quality": 95}, 2),
        ("JPEG", "RGB", {"progressive": True, "quality": 95}, 2),
        ("JPEG", "CMYK", {"quality": 95}, 4),
        ("PNG", "RGB", {}, 0),
        ("PNG", "P", {}, 40),
        ("WEBP", "RGB", {"lossless": True}, 0),
        ("GIF", "P", {}, 40),
        ("BMP", "RGB", {}, 0),
    ],
)
def test_formats_and_colour_models(format, mode, options, tolerance):
    assert mean_difference(open_and_decode(encode(PIXELS, format, mode, **options)), PIXELS) <= tolerance


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_grey(format):
    grey = np.asarray(Image.fromarray(PIXELS).convert("L"))
    found = open_and_decode(encode(PIXELS, format, "L"))
    assert mean_difference(found, grey[..., None]) < 3 and (found[..., 0] == found[..., 2]).all()


def test_sixteen_bits_are_scaled():
    deep = (np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    np.testing.assert_array_equal(
        open_and_decode(buffer.getvalue()), np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)
    )


def test_transparency_lies_on_white():
    alpha = np.zeros((60, 80), np.uint8)
    alpha[:30] = 255
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([PIXELS, alpha])).save(buffer, "PNG")
    found = open_and_decode(buffer.getvalue())
    np.testing.assert_array_equal(found[:30], PIXELS[:30])
    assert (found[30:] == 255).all()
    palette = Image.fromarray(np.repeat([[0], [1]], 40, 0).repeat(80, 1).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=bytes([255, 0]))
    found = open_and_decode(buffer.getvalue())
    assert (found[0, 0] == (10, 20, 30)).all() and (found[-1, 0] == 255).all()


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame(format):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], duration=100)
    assert mean_difference(open_and_decode(buffer.getvalue()), np.array([255, 0, 0])) < 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[
        orientation
    ]  # Pillow's transposition of the upright picture
    stored = Image.fromarray(PIXELS)
    stored = stored if undo is None else stored.transpose(undo)
    found = open_and_decode(encode(np.asarray(stored), format, exif=exif, quality=95))
    assert found.shape == PIXELS.shape and mean_difference(found, PIXELS) < 3


def test_broken_exif_is_ignored():
    data = encode(PIXELS, quality=95)
    data = data[:2] + b"\xff\xe1\x00\x0cExif\0\0\xff\xff\xff\xff" + data[2:]
    assert mean_difference(open_and_decode(data), PIXELS) < 3


def test_reduced_decoding_is_the_picture_made_smaller():
    pixels = picture(height=123, width=205)
    image = EncodedImage(encode(pixels, quality=95))
    for reduction in (2, 4, 8):
        small = image.draft(reduction)
        assert small.shape == (-(-123 // reduction), -(-205 // reduction), 3)
        rows, columns = (-side % reduction for side in (123, 205))
        blocks = np.pad(pixels, ((0, rows), (0, columns), (0, 0)), "edge").astype(float)
        blocks = blocks.reshape(small.shape[0], reduction, small.shape[1], reduction, 3).mean((1, 3))
        assert mean_difference(small, blocks) < 2


def test_a_draft_is_close_and_lasts_until_the_next():
    first = EncodedImage(photo(0))
    draft = first.draft(1)
    assert draft.shape == (375, 500, 3) and mean_difference(draft, first.decode()) < 0.5
    draft = EncodedImage(encode(PIXELS, quality=90)).draft(1)
    kept = draft.copy()
    EncodedImage(encode(PIXELS[::-1], quality=90)).draft(1)
    assert mean_difference(draft, kept) > 10  # the memory is shared: `augment` copies before it decodes again
    large = EncodedImage(encode(picture(0, 1500, 1500), quality=50))
    assert mean_difference(large.draft(1), large.decode()) < 1  # too large for the shared memory


def test_data_after_the_end_do_no_harm():
    assert mean_difference(open_and_decode(encode(PIXELS, quality=95) + b"\0" * 100), PIXELS) < 3


BAD = {
    "zero bytes": (b"", "empty image file"),
    "text": (b"<html>404 not found</html>", "undecodable image"),
    "only a header": (b"\xff\xd8\xff\xe0", "undecodable image"),
    "cut JPEG": (encode(picture(), quality=95)[:1500], "undecodable image"),
    "cut progressive JPEG": (encode(picture(), quality=95, progressive=True)[:1500], "undecodable image"),
    "cut PNG": (encode(picture(), "PNG")[:-3000], "undecodable image"),
    "cut WebP": (encode(picture(), "WEBP")[:-500], "undecodable image"),
    "1x1": (encode(picture(0, 1, 1)), "image too small"),
    "1x1 GIF": (encode(picture(0, 1, 1), "GIF", "P"), "image too small"),
    "7x500": (encode(picture(0, 7, 500)), "image too small"),
    "format outside the list": (encode(picture(), "TIFF"), "undecodable image"),
}


@pytest.mark.parametrize("name", BAD)
def test_rules_for_bad_pictures(name):
    data, reason = BAD[name]
    with pytest.raises(BadRecord) as error:
        open_and_decode(data)
    assert error.value.reason == reason and "\n" not in str(error.value) and " at 0x" not in str(error.value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF"])
def test_decompression_bombs_are_refused_by_their_header(format, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # for making them; the decoder has its own limit
    data = encode(np.zeros((9000, 9000), np.uint8), format, "L")
    monkeypatch.undo()
    monkeypatch.setattr(decode, "pillow_to_rgb", lambda image: pytest.fail("decoded"))
    with pytest.raises(BadRecord, match="image too large"):
        EncodedImage(data)
    header = bytearray(encode(picture(), "BMP"))
    header[18:26] = (20000).to_bytes(4, "little") * 2
    with pytest.raises(BadRecord, match="too large|undecodable"):
        EncodedImage(bytes(header))


@pytest.mark.parametrize("format, side", [("PNG", 4200), ("GIF", 4200), ("WEBP", 4200), ("BMP", 4200), ("JPEG", 8300)])
def test_sizes_are_checked_before_any_decoder_sees_the_data(format, side, monkeypatch):
    data = encode(np.zeros((side, side), np.uint8), format, "L")
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("opened"))
    monkeypatch.setattr(decode.simplejpeg, "decode_jpeg_header", lambda data: pytest.fail("opened"))
    with pytest.raises(BadRecord, match=f"image too large .{side}x{side}"):
        EncodedImage(data)


def test_the_stated_size_is_that_of_the_decoder():
    for format, mode, options in [
        *(("JPEG", mode, {"progressive": progressive}) for mode in ("RGB", "L", "CMYK") for progressive in (0, 1)),
        ("JPEG", "RGB", {"exif": b"Exif\0\0" + b"x" * 5000, "comment": b"\xff\xc0" * 20}),
        *(("PNG", mode, {}) for mode in ("RGB", "P", "1")),
        *(("WEBP", mode, options) for mode in ("RGB", "RGBA") for options in ({}, {"lossless": True}, {"exif": b"x"})),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
    ]:
        assert stated_size(encode(picture(0, 37, 53), format, mode, **options)) == (53, 37), (format, mode, options)


def test_scans_of_a_jpeg_are_limited():
    data = encode(picture(0, 1024, 1024), progressive=True)
    assert 5 < count_scans(data) < 16 and count_scans(encode(PIXELS)) == 1
    last = data.rfind(b"\xff\xda")
    EncodedImage(data[:-2] + data[last:-2] * 100 + b"\xff\xd9")  # a hundred passes over a megapixel
    with pytest.raises(BadRecord, match=r"image too large .1024x1024 in \d+ scans"):
        EncodedImage(data[:-2] + data[last:-2] * 300 + b"\xff\xd9")


def test_damaged_and_cmyk_jpegs_are_decoded_whole_so_they_may_have_fewer_pixels():
    side = 4200
    with pytest.raises(BadRecord, match="image too large"):
        EncodedImage(encode(np.zeros((side, side), np.uint8), "JPEG", "CMYK"))
    data = encode(np.zeros((side, side), np.uint8), "JPEG", "L")
    assert EncodedImage(data).draft(8).shape == (side // 8, side // 8, 3)
    with pytest.raises(BadRecord, match="a damaged JPEG, 4200x4200"):
        EncodedImage(data[:-2000]).decode()


def test_run_length_encoded_bitmaps_are_small_ones():
    whole = b"\xff\1" * 10 + b"\0\0"
    with pytest.raises(BadRecord, match="image too large"):
        EncodedImage(bmp(1100, 1000, 8, 1, whole * 1000))
    assert EncodedImage(bmp(64, 64, 8, 1, b"\x40\1\0\0" * 64)).decode().shape == (64, 64, 3)
