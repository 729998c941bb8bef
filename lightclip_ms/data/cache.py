"""Tables that are slow to build, kept in the user's cache folder as plain numpy archives."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import random
import zipfile
from collections.abc import Callable

import numpy as np

from lightclip_ms.runtime.files import replacing
from lightclip_ms.runtime.peers import Peers

_FORMAT = 2  # raise it when a table's layout changes: older entries are then ignored


def cached_arrays(kind: str, sources: list, build) -> dict:
    """`build()`'s dictionary of arrays, from the cache while no file of `sources` changes in name, size or time.

    The cache is `$XDG_CACHE_HOME/lightclip_ms` (`~/.cache` if unset); where it cannot be written, there is no home
    folder (a user without passwd entry), or an entry is damaged, the table is built again.
    """
    entry = _entry(kind, sources)
    arrays = _read(entry)
    if arrays is None:
        arrays = build()
        _write(entry, arrays)
    return arrays


def cached_tables(
    kind: str, sources: list[list], build: Callable[[int], dict], least: int = 0, peers: Peers = Peers()
) -> list[dict]:
    """`build(i)`'s arrays for every i, from the cache as `cached_arrays`; what is not there, one rank builds for all.

    Args:
        sources: the files of each table; they are the same on all ranks, whose caches may differ.
        least: bytes of a table's first file from which it is cached; smaller ones are built faster than read.
        peers: this process among the ranks that call this.

    Raises:
        ValueError: the ranks see different files. Whatever `build` raises.
    """
    entries = [_entry(kind, files) if os.path.getsize(files[0]) >= least else None for files in sources]
    if peers.world_size == 1:
        tables = [None] * len(sources)
        # Processes that start together take them in different orders and find each other's work in the cache.
        for i in random.Random(os.getpid()).sample(range(len(sources)), len(sources)):
            tables[i] = _read(entries[i])
            if tables[i] is None:
                tables[i] = build(i)
                _write(entries[i], tables[i])
        return tables
    tables = [_read(entry) for entry in entries]
    wanted = _owners([table is not None for table in tables], sources, peers)
    own = {i: tables[i] or build(i) for i, owner in wanted.items() if owner == peers.rank}
    for part in peers.exchange(_to_bytes(own)):
        for i, table in _from_bytes(part).items():
            if tables[i] is None:
                tables[i] = table
                # Ranks of one machine share a cache; an entry that is there all the same is damaged.
                if i in own or entries[i] is None or not entries[i].exists():
                    _write(entries[i], table)
    return tables


def _owners(known: list[bool], sources: list[list], peers: Peers) -> dict[int, int]:
    """Which rank gives the table to the others, for each that some rank lacks: one that has it, or else any in turn."""
    seen = hashlib.sha256(repr([(os.path.basename(file[0]), os.path.getsize(file[0])) for file in sources]).encode())
    found = [json.loads(part) for part in peers.exchange(json.dumps([seen.hexdigest(), known]).encode())]
    different = next((rank for rank, (digest, _) in enumerate(found) if digest != found[0][0]), None)
    if different is not None:
        counts = f"{len(found[0][1])} and {len(found[different][1])}"
        raise ValueError(
            f"{sources[0][0]}: ranks 0 and {different} see different files of this data set ({counts} of them, or of "
            "other sizes); every machine needs the same ones"
        )
    owners = {}
    for i in range(len(sources)):
        having = [rank for rank, (_, has) in enumerate(found) if has[i]]
        if len(having) < len(found):
            owners[i] = (having or range(len(found)))[len(owners) % len(having or found)]
    return owners


def _to_bytes(tables: dict[int, dict]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{f"{i} {name}": array for i, table in tables.items() for name, array in table.items()})
    return buffer.getvalue()


def _from_bytes(data: bytes) -> dict[int, dict]:
    tables = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        for key, array in archive.items():
            number, _, name = key.partition(" ")
            tables.setdefault(int(number), {})[name] = array
    return tables


def _entry(kind: str, sources: list) -> pathlib.Path | None:
    """Where the cache has the table of these files as they are now; None without a home folder."""
    home = os.path.expanduser("~")  # itself if there is none
    if home == "~" and not os.environ.get("XDG_CACHE_HOME"):
        return None
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path(home, ".cache"), "lightclip_ms", kind)
    stats = [(os.path.realpath(path), os.stat(path)) for path in sources]
    identity = repr([_FORMAT, *((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)])
    return folder / f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"


def _read(entry: pathlib.Path | None) -> dict | None:
    if entry is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            with np.load(entry, allow_pickle=False) as archive:
                return dict(archive)
    return None


def _write(entry: pathlib.Path | None, arrays: dict) -> None:
    if entry is not None:
        with contextlib.suppress(OSError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            with replacing(entry) as aside, open(aside, "wb") as file:
                np.savez(file, **arrays)
