"""Sources of (image bytes, caption): WebDataset shards and CSV/TSV tables, by random access.

A source has `len(source)`, `source.key(i)` (names the record in messages), `source.read(i) -> Pair` (raises BadRecord),
`source.shard_sizes` int64 [S] (what may be shuffled as a block) and `source.report` (what was left out on opening).
"""

import glob
import os

import numpy as np

from lightclip_ms.data.cache import cached_tables
from lightclip_ms.data.mindrecord import MindRecordPairs
from lightclip_ms.data.pair import IMAGE_EXTENSIONS, MAX_CAPTION_BYTES, Pair, clean_caption
from lightclip_ms.data.reading import MAX_IMAGE_BYTES, ReadFailed, read_image, read_span
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.table import Table
from lightclip_ms.data.tar_index import TarIndex
from lightclip_ms.runtime.peers import Peers

_TEXT = "txt"
_CACHED_FROM = 16 << 20  # bytes; smaller tables are scanned faster than a cache entry is worth


def open_pairs(
    path: str,
    format: str = "auto",
    image_key: str = "filepath",
    caption_key: str = "title",
    separator: str = "",
    peers: Peers = Peers(),
):
    """Open a data set as a source of pairs.

    Args:
        path: a table, or a pattern of shards (see `tar_index.expand_shards`).
        format: a name of `FORMATS`, or auto, which goes by the file's ending.
        image_key, caption_key, separator: columns and separator of a table (empty: a tab for .tsv, else a comma).
        peers: this process among the ranks that open the same data set now, which share the work of indexing it.

    Raises:
        FileNotFoundError: nothing there. ValueError: nothing usable in it, or a format that cannot be guessed.
    """
    if not path:
        raise ValueError("no data set given: set data.train to a CSV/TSV file, tar shards or MindRecord files")
    known = ", ".join(FORMATS)
    if format == "auto":
        format = next((name for name, (_, recognises) in FORMATS.items() if recognises(path)), None)
        if format is None:
            raise ValueError(f"{path}: cannot tell the format from the name; set data.format to one of {known}")
    elif format not in FORMATS:
        raise ValueError(f"data.format: {format!r} is not possible: use auto, or one of {known}")
    return FORMATS[format][0](path, image_key, caption_key, separator, peers)


def _is_mindrecord(path: str) -> bool:
    is_folder_of_them = os.path.isdir(path) and bool(glob.glob(os.path.join(path, "*.mindrecord")))
    return path.lower().endswith(".mindrecord") or is_folder_of_them


class TarPairs:
    """Pairs of WebDataset shards: a picture (`IMAGE_EXTENSIONS`) and `.txt` under one key."""

    def __init__(self, pattern: str, peers: Peers = Peers()):
        self._index = TarIndex(pattern, {*IMAGE_EXTENSIONS, _TEXT}, peers)
        self.report = self._index.report
        shard_of = np.repeat(np.arange(len(self._index.shards)), self._index.shard_sizes)
        image, text = self._index.has(IMAGE_EXTENSIONS), self._index.has((_TEXT,))
        for alone, reason in ((image & ~text, "image without a text"), (text & ~image, "text without an image")):
            for sample in np.flatnonzero(alone):
                self.report.add(reason, self._name(int(sample)))
        self._samples = np.flatnonzero(image & text)
        if not len(self._samples):
            found = f": {self.report.summary()}" if self.report.counts else ""
            endings = ", ".join(IMAGE_EXTENSIONS)
            raise ValueError(f"{pattern}: no picture ({endings}) with a .txt caption of its key{found}")
        self.shard_sizes = np.bincount(shard_of[self._samples], minlength=len(self._index.shards))

    def _name(self, sample: int) -> str:
        path = next(iter(self._index.members(sample).values()))[0]
        return f"{path}: {self._index.key(sample)}"

    def __len__(self) -> int:
        return len(self._samples)

    def key(self, index: int) -> str:
        return self._name(int(self._samples[index]))

    def read(self, index: int) -> Pair:
        sample = int(self._samples[index])
        members = self._index.members(sample)
        image = next(members[name] for name in IMAGE_EXTENSIONS if name in members)
        if image[2] > MAX_IMAGE_BYTES:
            raise BadRecord("image file too large", f"{image[2]} bytes")
        path, offset, size = members[_TEXT]
        try:
            caption = clean_caption(read_span(path, offset, min(size, MAX_CAPTION_BYTES)))
            return Pair(read_span(*image), caption)
        except ReadFailed:
            raise
        except OSError as error:
            raise BadRecord("unreadable", str(error)) from None


class CsvPairs:
    """Pairs of a CSV/TSV table (see `table`); relative image paths start at the table's folder.

    Only the byte offset of each row stays in memory, so tables of many millions of rows are no burden. A row with the
    picture and caption of an earlier one is left out; one picture with several captions makes several pairs.

    Raises:
        FileNotFoundError: no such table. ValueError: as `Table`, or there is no row.
    """

    def __init__(self, path: str, image_key: str, caption_key: str, separator: str = "", peers: Peers = Peers()):
        self._path = path
        self._folder = os.path.dirname(os.path.abspath(path))
        self._table = Table(path, image_key, caption_key, separator)
        kind = "-".join(map(str, ("rows", ord(self._table.separator), *self._table.columns)))
        rows = cached_tables(kind, [[path]], lambda _: self._scan(), _CACHED_FROM, peers)[0]
        self._starts = rows["starts"]
        self.report = SkipReport()
        self.report.add_array(rows["report"])
        if not len(self._starts):
            found = f": {self.report.summary()}" if self.report.counts else ""
            raise ValueError(f"{path}: a header, but no row{found}")
        self.shard_sizes = np.array([len(self._starts)], np.int64)  # separate files have no neighbours to keep

    def _scan(self) -> dict:
        """Byte offset of each row, int64 [n], and a report of those left out."""
        report = SkipReport()
        found = ((row.start, hash((row.image, row.caption))) for row in self._table.rows(report))
        rows = np.fromiter(found, np.dtype((np.int64, 2)))
        _, first = np.unique(rows[:, 1], return_index=True)
        again = np.setdiff1d(np.arange(len(rows)), first)
        for row in again.tolist():
            report.add("duplicate row", f"{self._path}: byte {rows[row, 0]}")
        return {"starts": np.delete(rows[:, 0], again), "report": report.to_array()}

    def __len__(self) -> int:
        return len(self._starts)

    def key(self, index: int) -> str:
        return f"{self._path}: row {index + 1} ({self._table.read(int(self._starts[index]))[0]})"

    def read(self, index: int) -> Pair:
        image, caption = self._table.read(int(self._starts[index]))
        caption = clean_caption(caption)
        return Pair(read_image(os.path.join(self._folder, image)), caption)


# name: (opens(path, image_key, caption_key, separator, peers), recognises(path)); the first that recognises it opens it
FORMATS = {
    "csv": (CsvPairs, lambda path: path.lower().endswith((".csv", ".tsv"))),
    "mindrecord": (lambda path, *others: MindRecordPairs(path, others[-1]), _is_mindrecord),
    "webdataset": (
        lambda path, *others: TarPairs(path, others[-1]),
        lambda path: path.lower().endswith(".tar") or os.path.isdir(path),
    ),
}
