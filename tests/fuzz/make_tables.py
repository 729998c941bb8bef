"""CSV and TSV tables as the web has them: stray quotes, any encoding, any separator, rows of any width, and damage."""

import numpy as np

from tests.fuzz.make_pictures import originals
from tests.fuzz.mutate import mutate

_CAPTIONS = (
    "a dog",
    "a dog, on a sofa",
    '"tall man',
    'vinyl 12"',
    '"Hello" she said',
    '"two, quoted"',
    '"three\nlines ""q"""',
    '"of a table\n0.jpg,inner\nend"',
    '"never closed, 1.jpg',
    "",
    "&nbsp;",
    "<br/>",
    "\u200b",
    "ünï 🐶\u202e",
    "caf\udce9",
    "tab\there",
    "carriage\rreturn",
    "nul\0byte",
    "x" * 9000,
    '""',
    '"""',
    "'" * 300,
)
_HEADERS = (
    "filepath{0}title",
    "title{0}filepath",
    "id{0}filepath{0}title{0}url",
    "filepath{0}text",
    '"filepath"{0}"title"',
    "",
)
_SEPARATORS = (",", "\t", ";", "|", "\u00a7", "\x1f")


def _pick(rng, options):
    return options[int(rng.integers(0, len(options)))]


def _long(rng) -> bytes:
    """A few megabytes that are unkind to parsers."""
    kind, count = int(rng.integers(0, 6)), int(rng.integers(1000, 300_000))
    body = (
        b"0.jpg," + b"x" * 10 * count,
        b"0.jpg," + b'"' * count,
        b',"a' * count,
        b'0.jpg,"open\n' * (count // 10),
        b'"x"",\n' * (count // 10),
        b'0.jpg,"' + b"line, of text\n" * (count // 10) + b'"\n',
    )[kind]
    return b"filepath,title\n0.jpg,first\n" + body + b"\n0.jpg,last\n"


def make(rng: np.random.Generator, folder) -> tuple[str, str]:
    """(path of a table, separator)."""
    for name in ("0.jpg", "1.jpg", "noending"):
        (folder / name).write_bytes(originals()[0])
    path = folder / _pick(rng, ("t.csv", "t.tsv"))
    if rng.random() < 0.02:
        path.write_bytes(_long(rng))
        return str(path), ","
    separator = _pick(rng, _SEPARATORS)
    names = _pick(rng, _HEADERS).format(separator).split(separator) if rng.random() < 0.9 else ["filepath", "title"]
    rows = [separator.join(names)]
    for _ in range(int(rng.integers(0, 12))):
        fields = [
            _pick(rng, _CAPTIONS) if "path" not in name else _pick(rng, ("0.jpg", "1.jpg", "noending"))
            for name in names
        ]
        rows.append(separator.join(fields))
    data = _pick(rng, ("\n", "\r\n", "\n")).join(rows).encode("utf-8", "surrogateescape")
    encoding = rng.random()
    if encoding < 0.1:
        data = b"\xef\xbb\xbf" + data
    elif encoding < 0.15:
        data = data.decode("utf-8", "replace").encode(_pick(rng, ("utf-16", "utf-16-be", "utf-32")), "replace")
    if rng.random() < 0.4:
        data = mutate(data, rng)
    path.write_bytes(data)
    return str(path), separator if rng.random() < 0.9 else _pick(rng, ("", "\\t", "ab", '"', "\n"))
