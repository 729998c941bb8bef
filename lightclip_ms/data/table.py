"""CSV/TSV tables of (image, caption) records, read in one way by training, evaluation and preparation.

The web's tables are not written by a CSV library, so a quote is a quote only if it opens a field and closes it in the
same record. A quoted field may hold line breaks, but not lines that are records themselves. Whatever is left out or
mended is counted with its line.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from lightclip_ms.data.pair import IMAGE_EXTENSIONS
from lightclip_ms.data.reading import require_regular, retried
from lightclip_ms.data.skipped import SkipReport

_MAX_LINE = 1 << 24  # bytes; what a longer line has beyond is not looked at
_MAX_RECORD_LINES = 1000  # of a quoted field
_MAX_RECORD = 1 << 20  # characters of a record of several lines
_OTHER_SEPARATORS = ("\t", ",", ";", "|")
_IMAGE_ENDINGS = tuple(f".{name}" for name in IMAGE_EXTENSIONS)
WRONG_WIDTH = "table row with a wrong number of fields"
NOT_UTF8 = "table row that is not UTF-8"
STRAY_QUOTE = "table row with a stray quote"
SEVERAL_LINES = "quoted text over several lines with separators in them"


class Row(NamedTuple):
    """One record: the byte it starts at, its line (the header's is 1), its image and caption, not yet cleaned."""

    start: int
    line: int
    image: str
    caption: str


class _Record(NamedTuple):
    fields: list[str] | None  # None at the end of the file
    end: int
    first_line_end: int
    lines: int
    notes: tuple[str, ...]


class Table:
    """A table with a header, read row by row or at a known byte.

    Args:
        path: the file.
        image_key, caption_key: names of the two columns.
        separator: one character (`\\t` may be spelled); empty: a tab for .tsv, else a comma.

    Raises:
        FileNotFoundError: no such file. ValueError: no regular file, another encoding, a missing or doubled column, or
        a separator that is not one character.
    """

    def __init__(self, path: str, image_key: str, caption_key: str, separator: str = ""):
        require_regular(path)
        self.path = path
        self.separator = _separator(path, separator)
        self.columns, self._width = (), 0  # until the header is known
        with self._open() as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise ValueError(f"{path}: the table is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
            header = self._record(file, 0)
        if header.fields is None:
            raise ValueError(f"{path}: empty table; it needs a header with {image_key} and {caption_key}")
        self._width, self._first, self._first_line = len(header.fields), header.end, header.lines + 1
        self.columns = tuple(self._column(header.fields, key) for key in (image_key, caption_key))

    def _column(self, names: list[str], key: str) -> int:
        names = [name.strip() for name in names]
        if names.count(key) == 1:
            return names.index(key)
        if names.count(key) > 1:
            raise ValueError(f"{self.path}: {names.count(key)} columns are called {key!r}; rename all but one")
        joined = self.separator.join(names)
        better = next((s for s in _OTHER_SEPARATORS if key in map(str.strip, joined.split(s))), None)
        found = ", ".join(names)[:300]
        hint = f"; {better!r} as the separator would find it" if better else ""
        raise ValueError(
            f"{self.path}: no column {key!r}; found {found} (separator {self.separator!r}); "
            f"set data.csv_image_key, csv_caption_key, csv_separator{hint}"
        )

    def _open(self):
        return retried(self.path, lambda: open(self.path, "rb"))

    def rows(self, report: SkipReport) -> Iterator[Row]:
        """All rows as wide as the header; of any other, only its first line is skipped."""
        with self._open() as file:
            start, line = self._first, self._first_line
            while True:
                record = self._record(file, start)
                if record.fields is None:
                    return
                where = f"{self.path}: line {line}"
                if len(record.fields) == self._width:
                    for note in record.notes:
                        report.note(note, where)
                    yield Row(start, line, *(record.fields[column] for column in self.columns))
                    start, line = record.end, line + record.lines
                    continue
                if record.fields:
                    report.add(WRONG_WIDTH, where, f"{len(record.fields)} for {self._width} columns")
                start, line = record.first_line_end, line + 1

    def read(self, start: int) -> tuple[str, str]:
        """(image, caption) of the row at a byte that `rows` gave."""

        def read() -> list[str]:
            with open(self.path, "rb") as file:
                return self._record(file, start).fields

        fields = retried(self.path, read)
        if not fields or len(fields) != self._width:
            raise OSError(f"{self.path}: no row at byte {start}: was the table changed?")
        return tuple(fields[column] for column in self.columns)

    def _record(self, file, start: int) -> _Record:
        """The record at `start`."""
        file.seek(start)
        raw = _read_line(file)
        if not raw:
            return _Record(None, start, start, 0, ())
        text = _decode(raw)
        first = file.tell()
        notes = (NOT_UTF8,) if _has_escapes(text) else ()
        if start == 0:
            text = text.removeprefix("\ufeff")
        line = text.removesuffix("\n").removesuffix("\r")
        if not line:
            return _Record([], first, first, 1, ())
        if '"' not in line:
            return _Record(line.replace("\r", " ").split(self.separator), first, first, 1, notes)
        fields, closed = self._strict(line)
        if fields is not None:
            return _Record(fields, first, first, 1, notes)
        if not closed:
            several = self._several_lines(file, text, line)
            if several is not None:
                fields, count, more = several
                return _Record(fields, file.tell(), first, count, notes + more)
        return _Record(self._lenient(line.replace("\r", " ")), first, first, 1, notes + (STRAY_QUOTE,))

    def _several_lines(self, file, text: str, line: str) -> tuple[list[str], int, tuple[str, ...]] | None:
        """Fields of a record whose quoted field continues in the next lines, and how many lines it has.

        None if the quote never closes, or if the next lines are records: then the quote is a stray one.
        """
        alone = self._lenient(line.replace("\r", " "))
        ending, notes = self._image_ending(alone), ()
        whole = len(alone) == self._width and ending
        for count in range(2, _MAX_RECORD_LINES):
            more = _decode(_read_line(file))
            text += more
            if not more or len(text) > _MAX_RECORD:
                return None
            inner = self._lenient(more.rstrip("\r\n"))
            closes = _closing(more, 0) >= 0
            # The end of a record whose first line is none by itself may look like one.
            if len(inner) == self._width and (whole or not closes):
                # Records of one table name their pictures alike; text between two separators rarely ends so.
                if self._image_ending(inner) in {ending, *_IMAGE_ENDINGS} - {""}:
                    return None
                notes = (SEVERAL_LINES,)
            if not closes:
                continue
            fields, closed = self._strict(text.removesuffix("\n").removesuffix("\r"))
            if closed:
                wanted = self._width if self.columns else len(fields or ())
                return (fields, count, notes) if fields is not None and len(fields) == wanted else None
        return None

    def _image_ending(self, fields: list[str]) -> str:
        """Ending of the image's name, in lower case; empty if it has none, or before the header is known."""
        column = self.columns[0] if self.columns else len(fields)
        return os.path.splitext(fields[column])[1].lower() if column < len(fields) else ""

    def _strict(self, text: str) -> tuple[list[str] | None, bool]:
        """Fields by the rules of RFC 4180, None if it breaks them; and whether all its quoted fields are closed."""
        fields, at, separator = [], 0, self.separator
        while True:
            if text.startswith('"', at):
                end = _closing(text, at + 1)
                if end < 0:
                    return None, False
                fields.append(text[at + 1 : end].replace('""', '"'))
                at = end + 1
                if at == len(text):
                    return fields, True
                if text[at] != separator:
                    return None, True
            else:
                end = text.find(separator, at)
                if end < 0:
                    return [*fields, text[at:].replace("\r", " ")], True
                fields.append(text[at:end].replace("\r", " "))
                at = end
            at += 1

    def _lenient(self, line: str) -> list[str]:
        """Fields of one line that breaks the rules: an opening quote that does not close its field is dropped."""
        fields = self._with_quotes(line)
        without = [field.removeprefix('"') for field in line.split(self.separator)]
        return without if len(without) == self._width != len(fields) else fields

    def _with_quotes(self, line: str) -> list[str]:
        """Fields of a line in which text may follow a closing quote, and the last quote may stay open."""
        fields, at = [], 0
        while True:
            text = ""
            if line.startswith('"', at):
                end, at = _closing(line, at + 1), at + 1
                if end < 0 and len(fields) + 1 == self._width:
                    return [*fields, line[at:]]  # the rest of the line, if that gives the right number of fields
                if end >= 0:
                    text, at = line[at:end].replace('""', '"'), end + 1
            end = line.find(self.separator, at)
            fields.append(text + line[at : end if end >= 0 else None])
            if end < 0:
                return fields
            at = end + 1


def _separator(path: str, separator: str) -> str:
    separator = separator.replace("\\t", "\t") or ("\t" if path.lower().endswith(".tsv") else ",")
    if len(separator) != 1 or separator in '"\r\n\0':
        raise ValueError(f"separator {separator!r} of {path}: use one character, such as ',' ';' '|' or '\\t'")
    return separator


def _read_line(file) -> bytes:
    """The next line up to `_MAX_LINE`; a longer one is read to its end and cut."""
    line = file.readline(_MAX_LINE)
    if len(line) == _MAX_LINE and not line.endswith(b"\n"):
        while (more := file.readline(_MAX_LINE)) and not more.endswith(b"\n"):
            pass
        line += b"\n"
    return line


def _decode(line: bytes) -> str:
    """Bytes that are no UTF-8 stay, escaped: a path may need them."""
    return line.decode("utf-8", "surrogateescape").replace("\0", "")


def _has_escapes(text: str) -> bool:
    try:
        return not (text.isascii() or text.encode())
    except UnicodeEncodeError:
        return True


def _closing(text: str, start: int) -> int:
    """Where the quoted field that is open at `start` closes, -1 if it does not; a doubled quote is part of the text."""
    while (end := text.find('"', start)) >= 0 and text.startswith('"', end + 1):
        start = end + 2
    return end
