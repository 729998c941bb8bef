"""Tar archives: damaged ones, hostile headers of every format, and layouts of samples that others write."""

import io
import tarfile

import numpy as np

from tests.fuzz.make_pictures import originals
from tests.fuzz.mutate import mutate

_NAMES = (
    "{0}",
    "dir/{0}",
    "./{0}",
    "v1.{0}",
    "{0}.seg",
    "../{0}",
    "/abs/{0}",
    "ünï{0}",
    "deep/" * 30 + "{0}",
    "a b{0}",
)
_ENDINGS = ("jpg", "txt", "json", "cls", "0.txt", "1.txt", "PNG", "caption.json", "npy", "")
_TEXTS = (
    b"a dog",
    b"",
    b"&nbsp;",
    b"one\ntwo\n\nthree",
    b"\xff\xfe",
    b"x" * 40_000,
    b'{"caption": "a cat"}',
    b'["a", ["b"]]',
)
_LABELS = (b"0", b"1\n", b"12", b"-1", b"cat", b"9" * 30, b"0" * 200)
_SIZES = (-1, -512, -(2**40), 2**31, 2**40, 2**62, 2**63, 2**80)


def header(name: bytes, size: int | bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A tar header with any size, octal where it fits, and a right checksum."""
    if isinstance(size, int):
        fits = 0 <= size < 8**11
        size = b"%011o\0" % size if fits else (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    block = bytearray(512)
    block[: len(name[:100])] = name[:100]
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:136] = size[:12].ljust(12, b"\0")
    block[136:148] = b"%011o\0" % 0
    block[156:157] = kind
    block[257:265] = fields.get("magic", b"ustar\x0000")
    if "rest" in fields:
        block[345:512] = fields["rest"].ljust(167, b"\0")[:167]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: bytes, data: bytes, kind: bytes = b"0", size: int | bytes | None = None, **fields: bytes) -> bytes:
    return header(name, len(data) if size is None else size, kind, **fields) + data + bytes(-len(data) % 512)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x", size: int | None = None) -> bytes:
    """An extended header with these records."""
    data = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        while len(b"%d" % length) + len(key) + len(value) + 3 != length:
            length = len(b"%d" % length) + len(key) + len(value) + 3
        data += b"%d %s=%s\n" % (length, key, value)
    return member(b"PaxHeaders/x", data, kind, size)


def _pick(rng, options):
    return options[int(rng.integers(0, len(options)))]


def _sound(rng) -> list[tuple[str, bytes]]:
    """Members of a few samples, whole or not."""
    members = []
    for number in range(int(rng.integers(0, 6))):
        name = _pick(rng, _NAMES).format(number)
        for ending in {"jpg", "txt", "cls"} if rng.random() < 0.5 else {_pick(rng, _ENDINGS) for _ in range(3)}:
            data = _pick(rng, _TEXTS)
            if ending in ("jpg", "PNG"):
                data = originals()[int(rng.integers(0, 5))]
            elif ending == "cls":
                data = _pick(rng, _LABELS) if rng.random() < 0.5 else b"%d" % number
            members.append((f"{name}.{ending}", data))
    return members


def _archive(rng, members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=int(rng.integers(0, 3))) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if rng.random() < 0.05:
                info.type, info.linkname = _pick(rng, (b"1", b"2", b"3", b"4", b"5", b"6", b"Z")), "/etc/passwd"
                data = b""
            info.size = len(data)
            try:
                archive.addfile(info, io.BytesIO(data))
            except ValueError:  # a name that the format cannot hold
                pass
    return buffer.getvalue()


def _hostile(rng) -> bytes:
    """One header that lies, after whole members and before others."""
    picture, size = originals()[0], int(_pick(rng, _SIZES))
    whole = member(b"0.jpg", picture) + member(b"0.txt", b"fine")
    digits = b"9" * int(_pick(rng, (20, 5000, 200_000)))
    sparse = b"".join(b"%011o\0%011o\0" % (2**30, 2**30) for _ in range(4)) + b"\1"
    lie = _pick(
        rng,
        (
            lambda: member(b"1.jpg", picture, size=size),
            lambda: member(
                b"1.jpg", picture, size=_pick(rng, (b"-0000001000", b"0o17", b"1_000", b"\xff" * 12, b"\x80"))
            ),
            lambda: member(b"././@LongLink", b"n" * 600, b"L", size) + member(b"1.jpg", picture),
            lambda: member(b"././@LongLink", b"n" * 600, b"K", size) + member(b"1.jpg", picture),
            lambda: pax((b"path", b"1.jpg"), size=size) + member(b"x", picture),
            lambda: pax((b"size", digits)) + member(b"1.jpg", picture),
            lambda: pax((b"size", b"%d" % size)) + member(b"1.jpg", picture),
            lambda: pax((b"size", b"%d" % size), kind=b"g") + member(b"1.jpg", picture),
            lambda: pax((b"path", b"a" * 100_000 + b".jpg")) + member(b"1.jpg", picture),
            lambda: member(b"PaxHeaders/x", digits + b" path=1.jpg\n", b"x") + member(b"1.jpg", picture),
            lambda: member(b"PaxHeaders/x", b"0 path=1.jpg\n" * 100, b"x") + member(b"1.jpg", picture),
            lambda: pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", digits)) + member(b"1.jpg", b"9" * 512),
            lambda: member(b"1.jpg", picture, b"S", rest=b"\0" * 41 + sparse),
            lambda: member(b"1.jpg", (b"\1" * 512) * 3000, b"S", rest=b"\0" * 41 + sparse, size=0),
            lambda: pax((b"path", b"1.jpg")) * 2000 + member(b"x", picture),
            lambda: member(b"1.jpg", picture, _pick(rng, (b"1", b"2", b"5", b"V", b"M")), size),
        ),
    )()
    return whole + lie + member(b"2.jpg", picture) + member(b"2.txt", b"last") + bytes(1024)


def make(rng: np.random.Generator, folder) -> str:
    """Path of one archive."""
    choice = rng.random()
    data = _hostile(rng) if choice < 0.4 else _archive(rng, _sound(rng))
    if choice > 0.75:
        data = mutate(data, rng)
    path = folder / "shard.tar"
    path.write_bytes(data)
    return str(path)
