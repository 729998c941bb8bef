"""Random access to WebDataset tar shards: one scan of the headers, then single reads at known offsets."""

import glob
import os
import re

import numpy as np

from lightclip_ms.data.cache import cached_tables
from lightclip_ms.data.pair import IMAGE_EXTENSIONS
from lightclip_ms.data.reading import read_span, require_regular
from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.data.tar_members import tar_members
from lightclip_ms.runtime.peers import Peers

_CACHED_FROM = 16 << 20  # bytes; smaller shards are scanned faster than a cache entry is worth
_COMPANIONS = ("txt", "json", "cls")  # what makes a picture of the same name a sample
_BRACE = re.compile(r"\{([^{}]*)\}")


def expand_shards(pattern: str, ending: str = ".tar") -> list[str]:
    """Shard files of a pattern: `{00000..00041}`, `{a,b}`, `*`, a folder of `*.tar` (`ending`), several joined by `::`.

    Raises:
        FileNotFoundError: nothing matches, or a file that braces name does not exist.
    """
    shards = []
    for part in filter(None, pattern.split("::")):
        for name in _expand_braces(part):
            if os.path.isdir(name):
                name = os.path.join(glob.escape(name), f"*{ending}")
            found = sorted(glob.glob(name)) if glob.has_magic(name) and not os.path.exists(name) else [name]
            if not found or not os.path.exists(found[0]):
                raise FileNotFoundError(f"{pattern}: no such shard: {name}")
            shards += found
    if not shards:
        raise FileNotFoundError(f"{pattern!r}: names no shard")
    for shard in shards:
        require_regular(shard)
    return list(dict.fromkeys(shards))


def _expand_braces(text: str) -> list[str]:
    match = _BRACE.search(text)
    if not match:
        return [text]
    first, dots, last = match[1].partition("..")
    if dots and first.isdigit() and last.isdigit():
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    return [name for choice in choices for name in _expand_braces(text[: match.start()] + choice + text[match.end() :])]


class TarIndex:
    """Samples of tar shards in order; members `dir/key.ext` of one shard that share `dir/key` make one sample.

    Only regular files count. Left out and counted in `.report`: links and devices, absolute paths and `..`, a key's
    second member of the same extension, pairs that WebDataset's keys (up to the first dot of the base name) tear apart,
    whatever follows a damaged header or a cut end.

    Args:
        pattern: see `expand_shards`.
        extensions: keep only these (lower case, what follows the first dot); None keeps all.
        peers: this process among the ranks that open the same shards now; each scans its part of them.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: a file is no tar, or no shard holds a sample.
    """

    def __init__(self, pattern: str, extensions=None, peers: Peers = Peers()):
        self.shards = expand_shards(pattern)
        self.report = SkipReport()
        scanned = cached_tables(
            "tar_index", [[path] for path in self.shards], lambda shard: _scan(self.shards[shard]), _CACHED_FROM, peers
        )
        tables = [_only(table, extensions) for table in scanned]
        for table in tables:
            self.report.add_array(table.pop("report"))
        self.shard_sizes = np.array([len(table["starts"]) - 1 for table in tables], np.int64)
        self._ends = np.cumsum(self.shard_sizes)
        if not self._ends[-1]:
            found = f": {self.report.summary()}" if self.report.counts else ""
            raise ValueError(f"{pattern}: {len(self.shards)} shard(s) without a single sample{found}")
        self._tables = tables

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, int(index - self._ends[shard] + self.shard_sizes[shard])

    def key(self, index: int) -> str:
        """WebDataset key of a sample, without its shard."""
        shard, local = self._locate(index)
        table = self._tables[shard]
        return bytes(table["keys"][slice(*table["key_starts"][local : local + 2])]).decode("utf-8", "replace")

    def has(self, extensions) -> np.ndarray:
        """Whether each sample has a member with one of these extensions, bool [len(self)]."""
        parts = []
        for table in self._tables:
            kinds = [kind for kind, name in enumerate(table["extensions"]) if name in extensions]
            found = np.concatenate([[0], np.cumsum(np.isin(table["kinds"], kinds))])[table["starts"]]
            parts.append(np.diff(found) > 0)
        return np.concatenate(parts)

    def members(self, index: int) -> dict[str, tuple[str, int, int]]:
        """Extension to (shard file, offset, size) of a sample."""
        shard, local = self._locate(index)
        table = self._tables[shard]
        part = slice(*table["starts"][local : local + 2])
        names, path = table["extensions"], self.shards[shard]
        return {
            names[kind]: (path, offset, size)
            for kind, (offset, size) in zip(table["kinds"][part].tolist(), table["spans"][part].tolist())
        }

    def read(self, index: int, extension: str) -> bytes:
        """Content of one member. Raises KeyError if the sample has none, OSError if the shard has become shorter."""
        return read_span(*self.members(index)[extension])


def _only(table: dict, extensions) -> dict:
    """A shard's table with `extensions` as names, and without members of other ones."""
    names = table["extensions"].tobytes().decode().split("\0")
    table = table | {"extensions": names}
    if extensions is None:
        return table
    kept = np.isin(table["kinds"], [kind for kind, name in enumerate(names) if name in extensions])
    starts = np.concatenate([[0], np.cumsum(kept)])[table["starts"]]
    return table | {"kinds": table["kinds"][kept], "spans": table["spans"][kept], "starts": starts}


def _scan(path: str) -> dict:
    """Table of one shard: members in the order of their samples.

    `kinds` uint32 [members] into `extensions`, `spans` int64 [members, 2] offset and size, `starts` int64
    [samples + 1] first member of each sample, `keys` and `key_starts` the keys' bytes.
    """
    report = SkipReport()
    samples, kinds = {}, {}
    duplicates, torn = set(), {}
    for name, offset, size in tar_members(path, report):
        folder, _, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if "." in extension:
            whole, _, ending = name.rpartition(".")
            torn.setdefault(whole, set()).add(ending.lower())
        members = samples.setdefault(key, {})
        kind = kinds.setdefault(extension.lower(), len(kinds))
        if kind in members and key not in duplicates:
            duplicates.add(key)
            report.add("duplicate key", f"{path}: {key}")
        members.setdefault(kind, (offset, size))
    for whole, endings in torn.items():
        if endings & set(IMAGE_EXTENSIONS) and endings & set(_COMPANIONS):
            base = whole.rpartition("/")[2]
            hint = f"keys end at the first dot: name it {base.replace('.', '_')}"
            report.add("key with a dot", f"{path}: {whole}", hint)
    encoded = [key.encode("utf-8", "surrogateescape") for key in samples]
    return {
        "kinds": np.array([kind for members in samples.values() for kind in members], np.uint32),
        "spans": np.array([span for members in samples.values() for span in members.values()], np.int64).reshape(-1, 2),
        "starts": np.cumsum([0, *map(len, samples.values())], dtype=np.int64),
        "keys": np.frombuffer(b"".join(encoded), np.uint8),
        "key_starts": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        "extensions": np.frombuffer("\0".join(kinds).encode("utf-8", "replace"), np.uint8),
        "report": report.to_array(),
    }
