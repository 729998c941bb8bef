"""Members of a tar archive, from its headers alone; made for archives that nobody vouches for.

Formats: v7, ustar, GNU and pax. Python's `tarfile` trusts the sizes that headers state: negative ones send it back to
where it was for ever, and extended headers are read whole, however large. Here every step goes forward within the file
and no header takes more than a megabyte; the first one that does not fit ends the archive.
"""

import os
import re
from collections.abc import Iterator

from lightclip_ms.data.reading import require_regular, retried
from lightclip_ms.data.skipped import SkipReport

CUT = "damaged or truncated tar"  # the reason in the report
_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_MAX_EXTENDED = 1 << 20  # bytes of a long name or of pax records
_MAX_NAME = 4096  # characters, as file systems have it
_MAX_SPARSE_BLOCKS = 1024
_OCTAL = re.compile(rb" *([0-7]*) *\Z")
_REGULAR, _SPARSE, _FOLDER = (b"0", b"\0", b"7"), b"S", b"5"
_WITHOUT_DATA = (
    b"1",
    b"2",
    b"3",
    b"4",
    _FOLDER,
    b"6",
)  # links, devices, folders, pipes: their size field means nothing


class _Damage(Exception):
    """What is wrong with a header; completes a sentence that begins with the member's name."""


def tar_members(path: str, report: SkipReport) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset, size) of the members that may be read; the others, and damage, go into the report.

    Raises:
        ValueError: the file does not begin like a tar archive, or is no regular file.
    """
    require_regular(path)
    descriptor = retried(path, lambda: os.open(path, os.O_RDONLY))
    try:
        length = os.fstat(descriptor).st_size
        yield from _members(path, lambda size, at: _read(path, descriptor, size, at), length, report)
    finally:
        os.close(descriptor)


def _read(path: str, descriptor: int, size: int, at: int) -> bytes:
    return retried(path, lambda: os.pread(descriptor, size, at))


def _members(path: str, read, length: int, report: SkipReport):
    at, name = 0, ""
    common, extended = {}, {}  # pax records: of all members that follow, of the next one
    try:
        while True:
            block = read(_BLOCK, at)
            if block == _ZEROS:
                return
            name = ""
            _check(block)
            kind = block[156:157]
            name = extended.get("path") or common.get("path") or _name(block, kind)
            start, stated = at + _BLOCK, _number(block[124:136])
            if kind == _SPARSE:
                start = _after_sparse_map(read, block, start)
            if kind in (b"L", b"K", b"x", b"X", b"g"):
                if stated > _MAX_EXTENDED:
                    raise _Damage(f"has an extended header of {stated} bytes")
                data = read(stated, start)
                if len(data) < stated:
                    raise _Damage("ends beyond the file")
                if kind == b"g":
                    common.update(_pax_records(data))
                elif kind == b"L":
                    extended["path"] = _text(data)
                elif kind != b"K":
                    extended.update(_pax_records(data))
                at = start + -(-stated // _BLOCK) * _BLOCK
                continue
            records, extended = {**common, **extended}, {}
            size = _size(records["size"]) if "size" in records else stated
            if kind in _WITHOUT_DATA:
                size = 0
            if start + size > length:
                raise _Damage(f"states a size of {size} bytes, which ends beyond the file")
            at = start + -(-size // _BLOCK) * _BLOCK
            sparse = kind == _SPARSE or any(key.startswith("GNU.sparse.") for key in records)
            if kind == _FOLDER or kind == b"\0" and name.endswith("/"):
                continue
            if kind not in _REGULAR or sparse:
                report.add("tar member that is no plain file", f"{path}: {name}")
            elif len(name) > _MAX_NAME or name.startswith("/") or ".." in name.split("/") or "\0" in name:
                report.add("tar member with an unsafe name", f"{path}: {name[:200]}")
            else:
                yield name.removeprefix("./"), start, size
    except _Damage as damage:
        if at == 0 and not name:
            raise ValueError(f"{path}: not an (uncompressed) tar file: {damage}") from None
        report.add(CUT, f"{path}: readable up to byte {at} ({name[:200] or 'a header'} {damage}) of {length}")


def _check(block: bytes) -> None:
    if len(block) < _BLOCK:
        raise _Damage("is missing: no block of zeros ends the archive" if not block else "is cut")
    stated = _number(block[148:156])
    plain = sum(block) - sum(block[148:156]) + 8 * 32  # its own field counts as blanks
    # Some old programs summed signed bytes.
    if stated != plain and stated != plain - 256 * sum(byte >> 7 for byte in block[:148] + block[156:]):
        raise _Damage("has a wrong checksum")


def _name(block: bytes, kind: bytes) -> str:
    name, prefix = _text(block[:100]), _text(block[345:500])
    return f"{prefix}/{name}" if prefix and kind not in (b"L", b"K", b"S") else name


def _number(field: bytes) -> int:
    """An octal number, or GNU's binary one."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big") - (1 << 8 * (len(field) - 1) if field[0] == 0xFF else 0)
        if value < 0:
            raise _Damage(f"states a size of {value} bytes")
        return value
    match = _OCTAL.match(field.split(b"\0", 1)[0])
    if not match:
        raise _Damage("holds no number where one belongs")
    return int(match[1] or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _size(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise _Damage(f"states a size of {value[:20]!r} bytes")
    return int(value)


def _pax_records(data: bytes) -> dict[str, str]:
    """Records `length key=value`; kept are those that decide about a member's name, size and kind."""
    records, position = {}, 0
    while position < len(data) and data[position]:
        digits, space, _ = data[position : position + 21].partition(b" ")
        if not (space and digits.isdigit()):
            raise _Damage("has damaged pax records")
        record = data[position : position + int(digits)]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or not record.endswith(b"\n") or len(record) != int(digits):
            raise _Damage("has damaged pax records")
        position += len(record)
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            text = value.decode("utf-8", "surrogateescape")
            records[key.decode("utf-8", "replace")] = text.rstrip("/") if key == b"path" else text
    return records


def _after_sparse_map(read, block: bytes, at: int) -> int:
    """Where the data of an old GNU sparse member begin: its map may continue in further blocks."""
    more = block[482]
    for _ in range(_MAX_SPARSE_BLOCKS):
        if not more:
            return at
        block = read(_BLOCK, at)
        if len(block) < _BLOCK:
            break
        more, at = block[504], at + _BLOCK
    raise _Damage("has a sparse map without an end")
