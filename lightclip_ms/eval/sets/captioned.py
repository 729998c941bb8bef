"""Images with captions for retrieval: WebDataset shards or a CSV/TSV table.

A caption set has `len(set)` (images), `set.key(i)`, `set.read(i)` (the encoded image, bytes), `set.captions`
(T texts), `set.image_of_caption` int32 [T] and `set.report` (what was left out on opening).
"""

import json
import os
import re
from pathlib import Path

import numpy as np

from lightclip_ms.data.pair import clean_caption, says_nothing
from lightclip_ms.data.reading import read_span
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.table import Table
from lightclip_ms.eval.sets.images import ImageFiles, ImageShards

_MAX_TEXT = 1 << 20  # bytes of a member with captions; nothing larger is read
_TEXT_MEMBER = re.compile(r"(?:(?:captions?|texts?)?[-_.]?(\d*)\.)?(txt|json)")
_JSON_KEYS = ("captions", "caption", "texts", "text", "sentences", "raw")


def open_captions(path: str, image_key: str = "filepath", caption_key: str = "title", separator: str = ""):
    """`CaptionTable` for *.csv and *.tsv, else `CaptionShards` of a pattern of tar files."""
    if path.lower().endswith((".csv", ".tsv")):
        return CaptionTable(path, image_key, caption_key, separator)
    return CaptionShards(path)


class CaptionFiles(ImageFiles):
    """Image files, each with any number of captions.

    Args:
        captions_of: image file -> its captions, in order.

    Raises:
        ValueError: a caption that is empty or no text.
    """

    def __init__(self, captions_of: dict[Path, list[str]], report: SkipReport | None = None):
        for path, captions in captions_of.items():
            if not all(isinstance(caption, str) and not says_nothing(caption) for caption in captions):
                raise ValueError(f"{path}: one of its captions is empty: {captions}")
        super().__init__(list(captions_of), report)
        self.captions = [caption for captions in captions_of.values() for caption in captions]
        counts = [len(captions) for captions in captions_of.values()]
        self.image_of_caption = np.repeat(np.arange(len(counts), dtype=np.int32), counts)


class CaptionTable(CaptionFiles):
    """A table as training reads it (see `data.table`); the rows of one image are its captions.

    Raises:
        FileNotFoundError: no such table or image. ValueError: a column is missing, or no row can be used.
    """

    def __init__(self, path: str, image_key: str, caption_key: str, separator: str = ""):
        table, report = Table(path, image_key, caption_key, separator), SkipReport()
        captions_of: dict[Path, list[str]] = {}
        for row in table.rows(report):
            try:
                caption = clean_caption(row.caption)
            except BadRecord as error:
                report.add(error.reason, f"{path}: line {row.line}", error.detail)
                continue
            image = Path(path).parent / row.image
            if image not in captions_of and not (row.image and os.path.isfile(image)):
                raise FileNotFoundError(f"{path}: line {row.line}: {image}: no such image")
            captions_of.setdefault(image, []).append(caption)
        if not captions_of:
            found = f": {report.summary()}" if report.counts else ""
            raise ValueError(f"{path}: a header, but no row{found}")
        super().__init__(captions_of, report)


class CaptionShards(ImageShards):
    """WebDataset shards of images with captions under the same key.

    Captions are the lines of `.txt` (one caption, or several as CLIP_benchmark writes them), of `.0.txt`, `.1.txt`, ...
    and of `.caption.txt`; where there is none of these, of `.json`: its `caption`, `captions`, `text` or `sentences`.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: no image with a caption.
    """

    def __init__(self, pattern: str):
        super().__init__(pattern)
        captions = [self._captions(index) for index in range(len(self))]
        self.keep([bool(texts) for texts in captions], "a caption (.txt or .json)")
        captions = list(filter(None, captions))
        self.captions = [text for texts in captions for text in texts]
        self.image_of_caption = np.repeat(np.arange(len(captions), dtype=np.int32), list(map(len, captions)))

    def _captions(self, index: int) -> list[str]:
        """Captions of a sample; those that cannot be used are counted."""
        members = {name: span for name, span in self.members(index).items() if _TEXT_MEMBER.fullmatch(name)}
        kind = "txt" if any(name.endswith("txt") for name in members) else "json"
        texts = []
        for name in sorted((name for name in members if name.endswith(kind)), key=_member_order):
            path, offset, size = members[name]
            if size > _MAX_TEXT:
                self.report.add("caption file too large", f"{self.key(index)}.{name}", f"{size} bytes")
                continue
            content = read_span(path, offset, size)
            found = content.splitlines() if kind == "txt" else json_captions(content)
            texts += found if len(found) == 1 else [text for text in found if text.strip()] or [""]
        if not members:
            self.report.add("image without a text", self.key(index))
        captions = []
        for text in texts:
            try:
                captions.append(clean_caption(text))
            except BadRecord as error:
                self.report.add(error.reason, self.key(index), error.detail)
        return captions


def _member_order(name: str) -> tuple[int, str]:
    number = _TEXT_MEMBER.fullmatch(name)[1]
    return int(number) if number and len(number) < 10 else -1, name


def json_captions(content: bytes) -> list[str]:
    """The captions that a JSON file holds: a text, a list of texts, or either under one of a few usual keys."""
    try:
        return _texts(json.loads(content))
    except (ValueError, RecursionError):
        return []


def _texts(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return next((_texts(value[key]) for key in _JSON_KEYS if value.get(key)), [])
    return []
