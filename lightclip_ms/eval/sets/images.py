"""Encoded images by index, from files or from tar shards: `len(images)`, `key(i)` for messages, `read(i)` -> bytes."""

from pathlib import Path

import numpy as np

from lightclip_ms.data.pairs import IMAGE_EXTENSIONS
from lightclip_ms.data.tar_index import TarIndex

_CUT = "damaged or truncated tar"  # as the index reports it


def find_images(folder: Path) -> list[Path]:
    """Image files anywhere below a folder, sorted; hidden files do not count."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower().lstrip(".") in IMAGE_EXTENSIONS and not path.name.startswith(".")
    )


class ImageFiles:
    """The files `paths`, in that order."""

    def __init__(self, paths: list[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        return str(self._paths[index])

    def read(self, index: int) -> bytes:
        return self._paths[index].read_bytes()


def open_images(paths: list[str]) -> ImageFiles:
    """Image files; a folder stands for all images below it.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no image.
    """
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such image or folder")
        found = find_images(path) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"{path}: no image in this folder")
        files += found
    return ImageFiles(files)


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
    """The samples of WebDataset shards that hold an image and a member with the ending `companion`.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: a file is no tar or is cut short, or no sample has both.
    """

    def __init__(self, pattern: str, companion: str):
        self._companion = companion
        self._index = TarIndex(pattern, {*IMAGE_EXTENSIONS, companion})
        cut = self._index.report.examples.get(_CUT)
        if cut:  # training does with what is left; a score must be that of the whole set
            raise ValueError(f"{cut[0]}: {_CUT}; copy the shard again")
        self._samples = np.flatnonzero(self._index.has(IMAGE_EXTENSIONS) & self._index.has((companion,)))
        if not len(self._samples):
            raise ValueError(f"{pattern}: no image ({', '.join(IMAGE_EXTENSIONS)}) with a .{companion} of the same key")

    def __len__(self) -> int:
        return len(self._samples)

    def key(self, index: int) -> str:
        sample = int(self._samples[index])
        return f"{self._index.members(sample)[self._companion][0]}: {self._index.key(sample)}"

    def read(self, index: int) -> bytes:
        sample = int(self._samples[index])
        members = self._index.members(sample)
        return self._index.read(sample, next(name for name in IMAGE_EXTENSIONS if name in members))

    def read_companion(self, index: int) -> bytes:
        """Content of the member with the ending `companion`."""
        return self._index.read(int(self._samples[index]), self._companion)
