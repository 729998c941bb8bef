"""Encoded pictures: damaged ones, headers that promise anything, and large or long ones that are fine."""

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.fuzz.mutate import mutate

_KINDS = (
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {}),
)
_NONE = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\0\0\0\0WEBP",
    b"GIF89a",
    b"BM",
    b"<html>404</html>",
    b"\0" * 500,
)
_SIDES = (0, 1, 7, 8, 300, 5000, 8192, 16383, 65500, 2**31 - 1)


def encode(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@functools.cache
def originals() -> list[bytes]:
    """Small pictures of every format and colour model, and things that are none."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8))
    small = coarse.resize((30, 24), Image.BICUBIC)
    return [encode(small.convert(mode), format, **options) for format, mode, options in _KINDS] + list(_NONE)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with this header, whatever the chunks hold."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
    palette = b"\x10\x20\x30\0" * (1 << bits if bits <= 8 else 0)
    start = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def _side(rng) -> int:
    return int(_SIDES[rng.integers(0, len(_SIDES))])


def _promise(rng) -> bytes:
    """A header that promises a size that the data do not have."""
    width, height, kind = _side(rng), _side(rng), rng.integers(0, 5)
    if kind == 0:
        exif = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0")
        return png(width, height, exif, chunk(b"IDAT", zlib.compress(b"\0" * 4000)))
    if kind == 1:
        size = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
        return (
            b"GIF89a" + size + b"\xf0\0\0" + b"\xff\0\0\0\0\xff" + b"," + b"\0\0\0\0" + size + b"\0\x02\x02\x44\x01\0;"
        )
    if kind == 2:
        return bmp(width & 0x7FFFFFFF, height & 0x7FFFFFFF, 8, int(rng.integers(0, 3)), rng.bytes(400))
    if kind == 3:
        canvas = struct.pack("<I", max(width - 1, 0))[:3] + struct.pack("<I", max(height - 1, 0))[:3]
        body = b"WEBPVP8X\x0a\0\0\0\x10\0\0\0" + canvas + originals()[10][12:]
        return b"RIFF" + struct.pack("<I", len(body)) + body
    data = bytearray(originals()[int(rng.integers(0, 5))])
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[frame + 5 : frame + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    return bytes(data)


def _scans(rng) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = originals()[3]
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * int(rng.integers(1, 2000)) + b"\xff\xd9"


def _text_bomb(rng) -> bytes:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * int(rng.integers(1, 4_000_000))))
    row = zlib.compress((b"\0" + bytes(3 * 20)) * 20)
    return png(20, 20, text * int(rng.integers(1, 40)), chunk(b"IDAT", row))


def _shape(rng) -> bytes:
    """A whole picture that is long and thin, or large."""
    sides = ((8, 60_000), (9, 16_000), (3000, 3000), (2000, 5000), (700, 9000))[rng.integers(0, 5)]
    format = ("JPEG", "PNG", "BMP", "GIF", "WEBP")[rng.integers(0, 5)]
    if format == "WEBP":
        sides = tuple(min(side, 2000) for side in sides)
    image = Image.new("RGB", sides if rng.random() < 0.5 else sides[::-1], tuple(rng.integers(0, 256, 3).tolist()))
    return encode(image, format)


def make(rng: np.random.Generator, folder) -> bytes:
    """One encoded picture, good or bad."""
    choice = rng.random()
    if choice < 0.8:
        known = originals()
        return mutate(known[rng.integers(0, len(known))], rng)
    if choice < 0.95:
        return _promise(rng)
    if choice < 0.97:
        return _scans(rng)
    return _text_bomb(rng) if choice < 0.985 else _shape(rng)
