"""One image-text pair as stored, and what counts as a caption."""

from typing import NamedTuple

from lightclip_ms.data.skipped import BadRecord

_MAX_CHARACTERS = 8192  # of one caption; 75 tokens never need more


class Pair(NamedTuple):
    """One record as stored: an encoded picture and its text."""

    image: bytes
    caption: str


def clean_caption(raw: bytes) -> str:
    """Caption as text: invalid UTF-8 is replaced, NUL removed, the end cut off; raises BadRecord if nothing is left."""
    text = raw[: 4 * _MAX_CHARACTERS].decode("utf-8", "replace").replace("\0", "")[:_MAX_CHARACTERS].strip()
    if not text:
        raise BadRecord("empty caption")
    return text
