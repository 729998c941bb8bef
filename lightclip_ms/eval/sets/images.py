"""Encoded images by index, from files or from tar shards: `len(images)`, `key(i)` for messages, `read(i)` -> bytes.

A set opened from folders or shards also has `report`, a `SkipReport` of what was left out on opening.
"""

import os
from pathlib import Path

import numpy as np

from lightclip_ms.data.pair import IMAGE_EXTENSIONS
from lightclip_ms.data.reading import MAX_IMAGE_BYTES, read_image, read_span
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.tar_index import TarIndex
from lightclip_ms.data.tar_members import CUT

_NO_FILE = "named like a picture, but no file"


def find_images(folder: Path, report: SkipReport) -> list[Path]:
    """Image files anywhere below a folder, sorted; hidden ones and links to folders are not looked at.

    Pipes, sockets, devices, folders and dangling links that are named like pictures, and folders that cannot be read,
    go into the report.
    """
    found = []

    def unreadable(error: OSError) -> None:
        report.add("folder that cannot be read", f"{error.filename}", error.strerror or "")

    for path, folders, files in os.walk(folder, onerror=unreadable):
        for name in filter(is_named_like_a_picture, (*files, *folders)):
            picture = Path(path, name)
            if picture.is_file():
                found.append(picture)
            else:
                report.add(_NO_FILE, f"{picture}")
    return sorted(found)


def is_named_like_a_picture(name: str) -> bool:
    """Whether a file's name ends like a picture's and is not hidden."""
    return name.lower().endswith(tuple(f".{ending}" for ending in IMAGE_EXTENSIONS)) and not name.startswith(".")


class ImageFiles:
    """The files `paths`, in that order, and what was left out on the way to them."""

    def __init__(self, paths: list[Path], report: SkipReport | None = None):
        self._paths = paths
        self.report = report or SkipReport()

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        return str(self._paths[index])

    def read(self, index: int) -> bytes:
        return read_image(self._paths[index])


def open_images(paths: list[str]) -> ImageFiles:
    """Image files; a folder stands for all images below it.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no image. ValueError: a path is no regular file.
    """
    files, report = [], SkipReport()
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such image or folder")
        if not path.is_dir() and not path.is_file():
            raise ValueError(f"{path}: neither a picture file nor a folder")
        found = find_images(path, report) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"{path}: no image in this folder")
        files += found
    return ImageFiles(files, report)


class Subset:
    """The images `indices` of a set."""

    def __init__(self, images, indices: np.ndarray):
        self._images, self._indices = images, indices

    def __len__(self) -> int:
        return len(self._indices)

    def key(self, index: int) -> str:
        return self._images.key(int(self._indices[index]))

    def read(self, index: int):
        return self._images.read(int(self._indices[index]))


class ImageShards:
    """Samples of WebDataset shards that hold an image, and whatever a subclass wants beside it.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: a file is no tar or is cut short.
    """

    def __init__(self, pattern: str):
        self._pattern, self._index = pattern, TarIndex(pattern)
        self.report = self._index.report
        cut = self.report.examples.get(CUT)
        if cut:  # training does with what is left; a score must be that of the whole set
            raise ValueError(f"{cut[0]}: {CUT}; copy the shard again")
        self._samples = np.flatnonzero(self._index.has(IMAGE_EXTENSIONS))

    def __len__(self) -> int:
        return len(self._samples)

    def key(self, index: int) -> str:
        sample = int(self._samples[index])
        return f"{next(iter(self._index.members(sample).values()))[0]}: {self._index.key(sample)}"

    def read(self, index: int) -> bytes:
        members = self.members(index)
        path, offset, size = next(members[name] for name in IMAGE_EXTENSIONS if name in members)
        if size > MAX_IMAGE_BYTES:
            raise BadRecord("image file too large", f"{size} bytes")
        return read_span(path, offset, size)

    def members(self, index: int) -> dict[str, tuple[str, int, int]]:
        """Extension to (shard file, offset, size) of everything that a sample holds."""
        return self._index.members(int(self._samples[index]))

    def keep(self, chosen: list[bool], wanted: str) -> None:
        """Keep the chosen samples only. Raises ValueError if there is none; `wanted` says what they would have."""
        self._samples = self._samples[np.array(chosen, bool)]
        if not len(self._samples):
            found = f": {self.report.summary()}" if self.report.counts else ""
            endings = ", ".join(IMAGE_EXTENSIONS)
            raise ValueError(f"{self._pattern}: no image ({endings}) with {wanted} of the same key{found}")
