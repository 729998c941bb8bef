"""Images with captions for retrieval: WebDataset shards or a CSV/TSV table.

A caption set has `len(set)` (images), `set.key(i)`, `set.read(i)` (the encoded image, bytes), `set.captions`
(T texts) and `set.image_of_caption` int32 [T].
"""

import csv
from pathlib import Path

import numpy as np

from lightclip_ms.data.pairs import clean_caption
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.eval.sets.images import ImageFiles, ImageShards


def open_captions(path: str, image_key: str = "filepath", caption_key: str = "title"):
    """`CaptionTable` for *.csv and *.tsv, else `CaptionShards` of a pattern of tar files."""
    if path.lower().endswith((".csv", ".tsv")):
        return CaptionTable(path, image_key, caption_key)
    return CaptionShards(path)


class CaptionFiles(ImageFiles):
    """Image files, each with any number of captions.

    Args:
        captions_of: image file -> its captions, in order.

    Raises:
        ValueError: a caption that is empty or no text.
    """

    def __init__(self, captions_of: dict[Path, list[str]]):
        for path, captions in captions_of.items():
            if not all(isinstance(caption, str) and caption.strip() for caption in captions):
                raise ValueError(f"{path}: one of its captions is empty: {captions}")
        super().__init__(list(captions_of))
        self.captions = [caption for captions in captions_of.values() for caption in captions]
        counts = [len(captions) for captions in captions_of.values()]
        self.image_of_caption = np.repeat(np.arange(len(counts), dtype=np.int32), counts)


class CaptionTable(CaptionFiles):
    """A CSV/TSV table with a header; rows of one image are its captions, relative paths start at the table's folder.

    Raises:
        FileNotFoundError: no such table or image. ValueError: a column is missing, no rows, or a row without a caption.
    """

    def __init__(self, path: str, image_key: str, caption_key: str):
        captions_of: dict[Path, list[str]] = {}
        with open(path, newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, delimiter="\t" if path.lower().endswith(".tsv") else ",")
            missing = [key for key in (image_key, caption_key) if key not in (table.fieldnames or ())]
            if missing:
                found = ", ".join(table.fieldnames or ["nothing"])
                raise ValueError(f"{path}: no column {missing[0]!r}; found {found}")
            for row in table:
                if not (row[image_key] and row[caption_key]):
                    raise ValueError(f"{path}: line {table.line_num} lacks its {image_key} or {caption_key}")
                image = Path(path).parent / row[image_key]
                if not image.is_file():
                    raise FileNotFoundError(f"{path}: line {table.line_num}: {image}: no such image")
                captions_of.setdefault(image, []).append(row[caption_key])
        if not captions_of:
            raise ValueError(f"{path}: a header, but no row")
        super().__init__(captions_of)


class CaptionShards(ImageShards):
    """WebDataset shards of images with a `.txt` caption under the same key.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: no image with a caption, or an empty caption.
    """

    def __init__(self, pattern: str):
        super().__init__(pattern, "txt")
        self.captions = [self._read_caption(index) for index in range(len(self))]
        self.image_of_caption = np.arange(len(self), dtype=np.int32)

    def _read_caption(self, index: int) -> str:
        try:
            return clean_caption(self.read_companion(index))
        except BadRecord as error:
            raise ValueError(f"{self.key(index)}.txt: {error}") from None
