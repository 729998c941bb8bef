"""Encoded pictures of any origin to RGB uint8 [H, W, 3], or a BadRecord that says why not.

Ordinary JPEG goes through libjpeg-turbo, at a reduced scale where the caller can do with less; it is strict, so
whatever it refuses, like every other format, goes to Pillow, which has the last word.
"""

import io
import threading

import numpy as np
from PIL import Image, UnidentifiedImageError

from lightclip_ms.data.picture_header import count_scans, is_jpeg, is_run_length_bmp, stated_size
from lightclip_ms.data.skipped import BadRecord

try:
    import simplejpeg
except ImportError:  # a deployed model leaves every format to Pillow
    simplejpeg = None

MAX_PIXELS = 1 << 26  # of a JPEG, which can be decoded at an eighth; larger ones are panoramas, scans or bombs
MAX_PIXELS_WHOLE = 1 << 24  # of what Pillow decodes whole, CMYK and damaged JPEGs too: half a second for a PNG
_MAX_PIXELS_RLE = 1 << 20  # of a run-length encoded BMP, which Pillow decodes without C
_MANY_SCANS, _MAX_SCAN_PIXELS = 16, 1 << 28  # every scan of a JPEG passes over all of its pixels
MIN_SIDE = 8  # pixels; smaller ones are tracking pixels and separators
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_BUFFER_SIZE = 4 << 20  # bytes; larger pictures are rare enough for memory of their own
_LOCAL = threading.local()
_EXIF_ORIENTATION = 0x0112
_EXIF_WITHIN = 4096  # bytes; EXIF comes before all but a few short headers


class EncodedImage:
    """A picture whose header has been read, so that its size is known before it is decoded.

    Attributes:
        height, width: as the picture is to be seen, EXIF rotation applied.

    Raises:
        BadRecord: empty or unreadable data, too small or too large.
    """

    def __init__(self, data: bytes):
        if not data:
            raise BadRecord("empty image file")
        self._data = data
        self._orientation = 1
        self._pillow = None
        self._plain_jpeg = False
        self.width, self.height = stated_size(data)
        _check_cost(data, self.width, self.height, is_jpeg(data))
        if simplejpeg is not None and is_jpeg(data):
            try:
                self.height, self.width, colours, _ = simplejpeg.decode_jpeg_header(data)
                self._plain_jpeg = colours in ("YCbCr", "Gray", "RGB")
            except ValueError:
                pass
        reducible = self._plain_jpeg or simplejpeg is None and is_jpeg(data)
        _check_cost(data, self.width, self.height, reducible)
        if not self._plain_jpeg or data.find(b"Exif\0\0", 0, _EXIF_WITHIN) >= 0:
            self._open_with_pillow()
            self.width, self.height = self._pillow.size
            _check_cost(data, self.width, self.height, reducible)
            self._orientation = _orientation(self._pillow)
        if self._orientation >= 5:
            self.height, self.width = self.width, self.height

    def _open_with_pillow(self) -> None:
        try:
            self._pillow = Image.open(io.BytesIO(self._data), formats=_FORMATS)
        except MemoryError:  # says nothing about the picture, whose size was checked
            raise
        except UnidentifiedImageError:  # its text names an object in memory
            raise BadRecord("undecodable image", f"none of {', '.join(_FORMATS)}") from None
        except Exception as error:  # on hostile bytes a decoder may raise anything
            raise BadRecord("undecodable image", _one_line(error)) from None

    def decode(self) -> np.ndarray:
        """RGB uint8 [H, W, 3]. Raises BadRecord if the data are cut or damaged."""
        return self._decode()

    def draft(self, reduction: int) -> np.ndarray:
        """The same for a copy that will be resampled anyway: a JPEG comes `reduction` (1, 2, 4 or 8) times smaller.

        Its colours are upsampled the fast way (0.1 of 255 off on average in photographs), into memory that the calling
        thread's next draft uses again.
        """
        # Before rotation: the header's own sides; each is rounded up as libjpeg does.
        height, width = (self.width, self.height) if self._orientation >= 5 else (self.height, self.width)
        height, width = -(-height // reduction), -(-width // reduction)
        return self._decode(
            fastupsample=True, min_height=height, min_width=width, buffer=_thread_buffer(height * width * 3)
        )

    def _decode(self, **options) -> np.ndarray:
        if self._plain_jpeg:
            try:
                return _turn(simplejpeg.decode_jpeg(self._data, "RGB", **options), self._orientation)
            except ValueError:
                if self.width * self.height > MAX_PIXELS_WHOLE:  # Pillow would take its time with what is damaged
                    raise BadRecord("undecodable image", f"a damaged JPEG, {self.width}x{self.height}") from None
                if self._pillow is None:
                    self._open_with_pillow()
        try:
            pixels = _turn(_to_rgb(self._pillow), self._orientation)
        except MemoryError:  # says nothing about the picture, whose size was checked
            raise
        except Exception as error:  # on hostile bytes a decoder may raise anything
            raise BadRecord("undecodable image", _one_line(error)) from None
        if pixels.shape != (self.height, self.width, 3):
            raise BadRecord("undecodable image", "its parts disagree about its size")
        return pixels


def _thread_buffer(size: int) -> np.ndarray | None:
    """Memory of this thread for a draft; fresh pages for every picture cost a tenth of its decoding."""
    if size > _BUFFER_SIZE:
        return None
    if not hasattr(_LOCAL, "buffer"):
        _LOCAL.buffer = np.empty(_BUFFER_SIZE, np.uint8)
    return _LOCAL.buffer


def _check_cost(data: bytes, width: int, height: int, large: bool) -> None:
    """Raises BadRecord for a size outside of the limits, before Pillow sees the data; `large`: up to `MAX_PIXELS`.

    Pillow sets memory aside on opening some formats, and decodes a PNG to look for its EXIF data.
    """
    if min(height, width) < MIN_SIDE:
        raise BadRecord("image too small", f"{width}x{height}")
    limit = MAX_PIXELS if large else _MAX_PIXELS_RLE if is_run_length_bmp(data) else MAX_PIXELS_WHOLE
    if height * width > limit:
        raise BadRecord("image too large", f"{width}x{height}, {limit} pixels at most in this format")
    scans = count_scans(data) if is_jpeg(data) else 1
    if scans > _MANY_SCANS and scans * width * height > _MAX_SCAN_PIXELS:
        raise BadRecord("image too large", f"{width}x{height} in {scans} scans")


def pillow_to_rgb(image: Image.Image) -> np.ndarray:
    """First frame of a Pillow image, upright, 16 bits scaled to 8, transparency on white: uint8 [H, W, 3].

    Raises:
        BadRecord: no pixels, more than `MAX_PIXELS`, or data that cannot be decoded.
    """
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise BadRecord("image too large" if image.width * image.height else "empty image", f"{image.size}")
    try:
        return _turn(_to_rgb(image), _orientation(image))
    except MemoryError:
        raise
    except Exception as error:  # an image that Pillow has not read yet may hold anything
        raise BadRecord("undecodable image", _one_line(error)) from None


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16-bit values instead of scaling
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken metadata do not make a broken picture
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels upright, by the EXIF orientation 1 to 8 they were stored with."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
