"""One image-text pair as stored, what counts as a picture's name, and what counts as a caption."""

import re
import unicodedata
from typing import NamedTuple

from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.tokenizer import clean_text

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
_MAX_CHARACTERS = 8192  # of one caption; 75 tokens never need more
MAX_CAPTION_BYTES = 4 * _MAX_CHARACTERS  # of UTF-8; nothing beyond is read
_MARKUP = re.compile(r"<!--.*?-->|</?[a-z!?][^<>]*>", re.IGNORECASE | re.DOTALL)
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that are drawn as nothing


class Pair(NamedTuple):
    """One record as stored: an encoded picture and its text."""

    image: bytes
    caption: str


def says_nothing(text: str) -> bool:
    """Whether a caption cleans to nothing: white space, `&nbsp;`, markup, control and invisible characters only."""
    if text[:1].isalnum() and text[0] not in _BLANK_LETTERS:
        return False
    visible = _MARKUP.sub(" ", clean_text(text))
    # Letters, numbers, punctuation and symbols; not marks, separators, control, format and unassigned characters.
    return not any(unicodedata.category(char)[0] in "LNPS" and char not in _BLANK_LETTERS for char in visible)


def clean_caption(raw: bytes | str) -> str:
    """Caption as text: invalid UTF-8 is replaced, NUL removed, the end cut off; raises BadRecord if nothing is left."""
    if isinstance(raw, str):
        raw = raw[: 2 * _MAX_CHARACTERS].encode("utf-8", "surrogateescape")
    text = raw[:MAX_CAPTION_BYTES].decode("utf-8", "replace").replace("\0", "")[:_MAX_CHARACTERS].strip()
    if says_nothing(text):
        raise BadRecord("empty caption")
    return text
