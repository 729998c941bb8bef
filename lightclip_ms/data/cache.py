"""Tables that are slow to build, kept in the user's cache folder as plain numpy archives."""

import hashlib
import os
import pathlib
import zipfile

import numpy as np

from lightclip_ms.runtime.files import replacing

_FORMAT = 2  # raise it when a table's layout changes: older entries are then ignored


def cached_arrays(kind: str, sources: list, build) -> dict:
    """`build()`'s dictionary of arrays, from the cache while no file of `sources` changes in name, size or time.

    The cache is `$XDG_CACHE_HOME/lightclip_ms` (`~/.cache` if unset); where it cannot be written, there is no home
    folder (a user without passwd entry), or an entry is damaged, the table is built again.
    """
    home = os.path.expanduser("~")  # itself if there is none
    if home == "~" and not os.environ.get("XDG_CACHE_HOME"):
        return build()
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path(home, ".cache"), "lightclip_ms", kind)
    stats = [(os.path.realpath(path), os.stat(path)) for path in sources]
    identity = repr([_FORMAT, *((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)])
    entry = folder / f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    try:
        with np.load(entry, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    arrays = build()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(entry) as aside, open(aside, "wb") as file:
            np.savez(file, **arrays)
    except OSError:
        pass
    return arrays
