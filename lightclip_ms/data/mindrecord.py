"""Pairs of MindRecord files, read at random.

MindSpore's own readers go through a file in their own order or, with a sampler, in one fixed order, and one damaged
record ends them. The format itself is open to random access: a SQLite index gives each row's page and offset in the
data file, and a row's byte columns lie there in alphabetical order, each after its length. Read are files of format
3.0, which MindSpore 2.10 writes; a test compares with what its `FileReader` sees.
"""

import itertools
import json
import os
import pathlib
import sqlite3
import struct

import numpy as np

from lightclip_ms.data.cache import cached_tables
from lightclip_ms.data.pair import Pair, clean_caption
from lightclip_ms.data.reading import ReadFailed, read_span
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.tar_index import expand_shards
from lightclip_ms.runtime.peers import Peers

IMAGE, CAPTION, KEY = "image", "caption", "key"
SCHEMA = {IMAGE: {"type": "bytes"}, CAPTION: {"type": "bytes"}, KEY: {"type": "string"}}
MAX_IMAGE_BYTES = (1 << 24) - (1 << 16)
_PAGE_SIZE = 1 << 24  # bytes; MindRecord keeps a row within one page, and each file has a page to spare
_HEADER_SIZE = 1 << 20
_MAX_HEADER = 64 << 20  # bytes that are read of one
_ROWS_A_WRITE = 64
_CACHED_FROM = 16 << 20  # bytes; smaller files are indexed faster than a cache entry is worth
_HEADER_LENGTH = struct.Struct("<Q")
_ROW_LENGTH, _COLUMN_LENGTH = struct.Struct("<Q"), struct.Struct(">Q")


def write_mindrecord(path: str, pairs) -> int:
    """Write (key, `Pair`) items as one MindRecord file with its index; returns how many (of 0 writes none)."""
    from mindspore.mindrecord import FileWriter  # loads MindSpore, which reading does without

    pairs, writer, count = iter(pairs), None, 0
    while rows := [
        {IMAGE: pair.image, CAPTION: pair.caption.encode(), KEY: key}
        for key, pair in itertools.islice(pairs, _ROWS_A_WRITE)
    ]:
        if writer is None:
            writer = FileWriter(path)
            writer.set_header_size(_HEADER_SIZE)
            writer.set_page_size(_PAGE_SIZE)
            writer.add_schema(SCHEMA, "LightCLIP pairs")
        writer.write_raw_data(rows)
        count += len(rows)
    if writer is not None:
        writer.commit()
    return count


class MindRecordPairs:
    """Pairs of MindRecord files as `scripts/prepare_data.py` writes them (`SCHEMA`); see `pairs` for the interface.

    Args:
        pattern: see `tar_index.expand_shards`; a folder means its `*.mindrecord`.
        peers: this process among the ranks that open the same files now; each reads its part of their indices.

    Raises:
        FileNotFoundError: a file or its index is missing. ValueError: no MindRecord, another schema, or no row.
    """

    def __init__(self, pattern: str, peers: Peers = Peers()):
        self._paths = expand_shards(pattern, ".mindrecord")
        _refuse_missing_files(pattern)
        self.report = SkipReport()
        self._fields = [_blob_fields(path) for path in self._paths]
        indices = [_index(path) for path in self._paths]
        found = cached_tables(
            "mindrecord", list(zip(self._paths, indices)), lambda i: _spans(self._paths[i]), _CACHED_FROM, peers
        )
        self._spans = [table["spans"] for table in found]
        self.shard_sizes = np.array([len(spans) for spans in self._spans], np.int64)
        self._ends = np.cumsum(self.shard_sizes)
        if not len(self):
            raise ValueError(f"{pattern}: {len(self._paths)} MindRecord file(s) without a single row")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, int(index - self._ends[shard] + self.shard_sizes[shard])

    def key(self, index: int) -> str:
        shard, row = self._locate(index)
        found = _query(self._paths[shard], f"SELECT {KEY}_0 FROM INDEXES ORDER BY ROW_ID LIMIT 1 OFFSET {row}")
        return f"{self._paths[shard]}: {found[0][0]}"

    def read(self, index: int) -> Pair:
        shard, row = self._locate(index)
        offset, size = self._spans[shard][row].tolist()
        try:
            record = read_span(self._paths[shard], offset, size)
        except ReadFailed:
            raise
        except OSError as error:
            raise BadRecord("unreadable", str(error)) from None
        columns = _split(record, self._fields[shard])
        return Pair(columns[IMAGE], clean_caption(columns[CAPTION]))


def _refuse_missing_files(folder: str) -> None:
    """A folder of scripts/prepare_data.py lists its files: training on a part of them would go unnoticed."""
    try:
        files = json.loads(pathlib.Path(folder, "manifest.json").read_text(encoding="utf-8"))["files"]
        missing = [name for name in files if not os.path.isfile(os.path.join(folder, name))]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return  # no folder, or no manifest of that kind
    if missing:
        raise FileNotFoundError(
            f"{os.path.join(folder, missing[0])}: missing, and {len(missing) - 1} more of the {len(files)} files that "
            f"{os.path.join(folder, 'manifest.json')} lists; copy them along, or name the files you want"
        )


def _split(record: bytes, fields: list[str]) -> dict[str, bytes]:
    """A row's byte columns by name."""
    columns, position = {}, _ROW_LENGTH.size
    for field in fields:
        start = position + _COLUMN_LENGTH.size
        if start > len(record):
            raise BadRecord("damaged MindRecord row")
        position = start + _COLUMN_LENGTH.unpack_from(record, position)[0]
        columns[field] = record[start:position]
    if position != len(record):
        raise BadRecord("damaged MindRecord row")
    return columns


def _header(path: str) -> dict:
    try:
        length = _HEADER_LENGTH.unpack(read_span(path, 0, _HEADER_LENGTH.size))[0]
        return json.loads(read_span(path, _HEADER_LENGTH.size, min(length, _MAX_HEADER, os.path.getsize(path))))
    except ReadFailed:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a MindRecord file ({error})") from None


def _blob_fields(path: str) -> list[str]:
    """Byte columns of a file in the order in which a row stores them."""
    header = _header(path)
    try:
        schema = header["schema"][0]
        if header["compression_size"] or any(schema["schema"].get(name) != kind for name, kind in SCHEMA.items()):
            raise ValueError(
                f"{path}: columns {schema['schema']}, wanted {SCHEMA}; make the files with scripts/prepare_data.py"
            )
        if set(schema["blob_fields"]) != {IMAGE, CAPTION}:
            raise TypeError
        return schema["blob_fields"]
    except (LookupError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a MindRecord file of format 3.0") from None


def _index(path: str) -> str:
    index = f"{path}.db"
    if not os.path.isfile(index):
        raise FileNotFoundError(f"{index}: the index of {path} is missing; copy it along or prepare the data again")
    return index


def _spans(path: str) -> dict[str, np.ndarray]:
    """Offset and size of each row's byte columns, int64 [rows, 2]."""
    header = _header(path)
    rows = _query(path, "SELECT PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END FROM INDEXES ORDER BY ROW_ID")
    try:
        page, start, end = np.array(rows, np.int64).reshape(-1, 3).T
        offset, size = header["header_size"] + page * header["page_size"] + start, end - start
        if len(rows) and not (offset.min() >= 0 <= size.min() and size.max() <= _PAGE_SIZE):
            raise ValueError("a row lies outside of its page")
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}.db: damaged index ({error}); prepare the data again") from None
    return {"spans": np.stack([offset, size], axis=1)}


def _query(path: str, statement: str) -> list[tuple]:
    # "immutable" lets SQLite read from a read-only mount, where it could not create its lock file.
    address = f"{pathlib.Path(path).absolute().as_uri()}.db?immutable=1"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ValueError(f"{path}.db: damaged index ({error}); prepare the data again") from None
