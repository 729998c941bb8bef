"""Sources of (image bytes, caption): WebDataset shards and CSV/TSV tables, by random access.

A source has `len(source)`, `source.key(i)` (names the record in messages), `source.read(i) -> Pair` (raises BadRecord),
`source.shard_sizes` int64 [S] (what may be shuffled as a block) and `source.report` (what was left out on opening).
"""

import csv
import glob
import os
import stat

import numpy as np

from lightclip_ms.data.cache import cached_arrays
from lightclip_ms.data.mindrecord import MindRecordPairs
from lightclip_ms.data.pair import Pair, clean_caption
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.tar_index import TarIndex, read_span

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
_TEXT = "txt"
_MAX_BYTES = 256 << 20  # of one picture; anything larger is no photograph
_MAX_LINE = 100_000  # characters; csv refuses fields of more than 131,072
_CACHED_FROM = 16 << 20  # bytes; smaller tables are scanned faster than a cache entry is worth


def open_pairs(
    path: str, format: str = "auto", image_key: str = "filepath", caption_key: str = "title", separator: str = ""
):
    """Open a data set as a source of pairs.

    Args:
        path: a table, or a pattern of shards (see `tar_index.expand_shards`).
        format: auto, csv, webdataset or mindrecord; auto goes by the file's ending.
        image_key, caption_key, separator: columns and separator of a table (empty: a tab for .tsv, else a comma).

    Raises:
        FileNotFoundError: nothing there. ValueError: nothing usable in it, or a format that cannot be guessed.
    """
    if not path:
        raise ValueError("no data set given: set data.train to a CSV/TSV file, tar shards or MindRecord files")
    format = _guess_format(path) if format == "auto" else format
    if format == "csv":
        return CsvPairs(path, image_key, caption_key, separator)
    if format == "mindrecord":
        return MindRecordPairs(path)
    return TarPairs(path)


def _guess_format(path: str) -> str:
    if path.lower().endswith((".csv", ".tsv")):
        return "csv"
    if path.lower().endswith(".mindrecord") or os.path.isdir(path) and glob.glob(os.path.join(path, "*.mindrecord")):
        return "mindrecord"
    if path.lower().endswith(".tar") or os.path.isdir(path):
        return "webdataset"
    raise ValueError(f"{path}: cannot tell the format from the name; set data.format to csv, webdataset or mindrecord")


def _as_text(line: bytes) -> str:
    """Bytes that are no UTF-8 stay, escaped: a path may need them."""
    return line.decode("utf-8", "surrogateescape").replace("\0", "")


class TarPairs:
    """Pairs of WebDataset shards: a picture (`IMAGE_EXTENSIONS`) and `.txt` under one key."""

    def __init__(self, pattern: str):
        self._index = TarIndex(pattern, {*IMAGE_EXTENSIONS, _TEXT})
        self.report = self._index.report
        shard_of = np.repeat(np.arange(len(self._index.shards)), self._index.shard_sizes)
        image, text = self._index.has(IMAGE_EXTENSIONS), self._index.has((_TEXT,))
        for alone, reason in ((image & ~text, "image without a text"), (text & ~image, "text without an image")):
            for sample in np.flatnonzero(alone):
                self.report.add(reason, self._name(int(sample)))
        self._samples = np.flatnonzero(image & text)
        if not len(self._samples):
            raise ValueError(f"{pattern}: no picture ({', '.join(IMAGE_EXTENSIONS)}) with a .txt caption of its key")
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
        if image[2] > _MAX_BYTES:
            raise BadRecord("image file too large", f"{image[2]} bytes")
        try:
            return Pair(read_span(*image), clean_caption(read_span(*members[_TEXT])))
        except OSError as error:
            raise BadRecord("unreadable", str(error)) from None


class CsvPairs:
    """Pairs of a CSV/TSV table with a header; relative image paths start at the table's folder.

    Only the byte offset of each row stays in memory, so tables of many millions of rows are no burden. A row with the
    picture and caption of an earlier one is left out; one picture with several captions makes several pairs.

    Raises:
        FileNotFoundError: no such table. ValueError: a named column is missing, or there is no row.
    """

    def __init__(self, path: str, image_key: str, caption_key: str, separator: str = ""):
        self._path = path
        self._separator = separator or ("\t" if path.lower().endswith(".tsv") else ",")
        self._folder = os.path.dirname(os.path.abspath(path))
        with open(path, "rb") as table:
            _, header = self._next_row(table, 0)
        if header is None:
            raise ValueError(f"{path}: empty table; it needs a header with {image_key} and {caption_key}")
        missing = [key for key in (image_key, caption_key) if key not in header]
        if missing:
            raise ValueError(
                f"{path}: no column {missing[0]!r}; found {', '.join(header)} (separator "
                f"{self._separator!r}); set data.csv_image_key, csv_caption_key, csv_separator"
            )
        self._columns = header.index(image_key), header.index(caption_key)
        large = os.path.getsize(path) >= _CACHED_FROM
        columns = "-".join(map(str, self._columns))
        rows = cached_arrays(f"rows-{ord(self._separator)}-{columns}", [path], self._scan) if large else self._scan()
        self._starts = rows["starts"]
        self.report = SkipReport()
        self.report.add_array(rows["report"])
        if not len(self._starts):
            raise ValueError(f"{path}: a header, but no row")
        self.shard_sizes = np.array([len(self._starts)], np.int64)  # separate files have no neighbours to keep

    def _next_row(self, table, start: int) -> tuple[int, list[str] | None]:
        """(end of the row at `start`, its fields; None at the end of the file).

        A row whose quotes do not match is read as one line: a stray quote must not swallow the rows after it.
        """
        table.seek(start)
        try:
            lines = map(_as_text, iter(table.readline, b""))
            fields = next(csv.reader(lines, delimiter=self._separator, strict=True), None)
        except csv.Error:
            table.seek(start)
            line = _as_text(table.readline()).replace("\r", " ")[:_MAX_LINE]
            fields = next(csv.reader([line], delimiter=self._separator))
        return table.tell(), fields

    def _scan(self) -> dict:
        """Byte offset of each row, int64 [n], and a report of those left out."""
        report = SkipReport()
        with open(self._path, "rb") as table:
            rows = np.fromiter(self._rows(table, report), np.dtype((np.int64, 2)))
        _, first = np.unique(rows[:, 1], return_index=True)
        again = np.setdiff1d(np.arange(len(rows)), first)
        for row in again.tolist():
            report.add("duplicate row", f"{self._path}: byte {rows[row, 0]}")
        return {"starts": np.delete(rows[:, 0], again), "report": report.to_array()}

    def _rows(self, table, report: SkipReport):
        """Yield (start, hash) of each row as wide as the header; of any other only the first line is passed over."""
        position, header = self._next_row(table, 0)
        while True:
            end, fields = self._next_row(table, position)
            if fields is None:
                return
            if len(fields) == len(header):
                yield position, hash(tuple(fields[column] for column in self._columns))
            elif fields:
                report.add(
                    "table row with a wrong number of fields",
                    f"{self._path}: byte {position}",
                    f"{len(fields)} for {len(header)} columns",
                )
                table.seek(position)
                table.readline()
                end = table.tell()
            position = end

    def _fields(self, index: int) -> list[str]:
        with open(self._path, "rb") as table:
            return self._next_row(table, int(self._starts[index]))[1]

    def __len__(self) -> int:
        return len(self._starts)

    def key(self, index: int) -> str:
        return f"{self._path}: row {index + 1} ({self._fields(index)[self._columns[0]]})"

    def read(self, index: int) -> Pair:
        fields = self._fields(index)
        image, caption = (fields[column] for column in self._columns)
        caption = clean_caption(caption.encode("utf-8", "surrogateescape"))
        return Pair(self._read_image(os.path.join(self._folder, image)), caption)

    @staticmethod
    def _read_image(path: str) -> bytes:
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe or device could block for ever
                raise BadRecord("image path is no file")
            if status.st_size > _MAX_BYTES:
                raise BadRecord("image file too large", f"{status.st_size} bytes")
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise BadRecord("missing image file") from None
        except OSError as error:
            raise BadRecord("unreadable", str(error)) from None
