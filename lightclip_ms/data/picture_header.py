"""What the first bytes of an encoded picture say about the cost of decoding it, read without any decoder."""

import struct

from lightclip_ms.data.skipped import BadRecord

_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
_SCAN = 0xDA


def stated_size(data: bytes) -> tuple[int, int]:
    """(width, height) that the header of a JPEG, PNG, GIF, BMP or WebP states.

    Raises:
        BadRecord: another format, or the header is cut.
    """
    size = _size(data)
    if size is None:
        raise BadRecord("undecodable image", "not a picture of a known format")
    return size


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        if is_jpeg(data):
            frame = next((at for marker, at in _segments(data) if marker in _FRAMES), len(data))
            return struct.unpack_from(">HH", data, frame + 5)[::-1]
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return struct.unpack_from("<HH", data, 6)
        if data.startswith(b"BM"):
            # A header of 12 bytes is OS/2's; elsewhere a negative height only means that rows run downwards.
            old = struct.unpack_from("<I", data, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
            return abs(width), abs(height)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:
        pass
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def is_run_length_bmp(data: bytes) -> bool:
    """Whether a BMP is run-length encoded (compression 1 or 2)."""
    return data.startswith(b"BM") and data[30:34] in (b"\1\0\0\0", b"\2\0\0\0")


def is_jpeg(data: bytes) -> bool:
    """Whether data begin like a JPEG."""
    return data.startswith(b"\xff\xd8")


def _segments(data: bytes):
    """Yield (marker, where it is) of a JPEG's segments up to the first scan."""
    at = 2
    while at + 4 <= len(data):
        at = data.find(b"\xff", at)  # decoders, too, look for the next marker when there is something else
        if at < 0 or at + 4 > len(data):
            return
        marker = data[at + 1]
        if marker in (0, 0xFF):  # no marker, and a byte that only fills
            at += 1
            continue
        yield marker, at
        if marker == _SCAN:
            return
        alone = marker == 1 or 0xD0 <= marker <= 0xD8  # these have no length
        at += 2 + (0 if alone else int.from_bytes(data[at + 2 : at + 4], "big"))


def count_scans(data: bytes) -> int:
    """An upper bound of the scans of a JPEG; 1, without looking further, if its first scan holds all of it.

    Each scan costs a pass over the whole picture, however few bytes it takes.
    """
    components, progressive = 0, False
    for marker, at in _segments(data):
        if marker in _FRAMES and at + 9 < len(data):
            components, progressive = data[at + 9], marker in _PROGRESSIVE
        elif marker == _SCAN and at + 4 < len(data) and data[at + 4] == components and not progressive:
            return 1
    return data.count(b"\xff\xda")
