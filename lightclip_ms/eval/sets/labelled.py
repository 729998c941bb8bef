"""Labelled images from a folder of class folders or from WebDataset shards with `.cls`.

A labelled set has `len(set)`, `set.key(i)` (names the image in messages), `set.read(i)` (the encoded image, bytes),
`set.labels` int32 [N], `set.classes` (what the layout itself calls the classes, or None), `set.report` (what was left
out on opening).
"""

import os
from pathlib import Path

import numpy as np

from lightclip_ms.data.pair import IMAGE_EXTENSIONS
from lightclip_ms.data.reading import read_span
from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.eval.sets.class_order import match_classes, sorted_classes
from lightclip_ms.eval.sets.images import ImageFiles, ImageShards, find_images, is_named_like_a_picture

__all__ = ["ImageFolder", "LabelledFiles", "LabelledShards", "match_classes", "open_labelled"]

_MAX_LABEL = 64  # bytes of a `.cls` member
_MAX_CLASSES = 1_000_000


def open_labelled(path: str):
    """`ImageFolder` for a folder of class folders, else `LabelledShards` of a pattern of tar files."""
    if os.path.isdir(path) and not any(entry.suffix == ".tar" for entry in Path(path).iterdir()):
        return ImageFolder(path)
    return LabelledShards(path)


class LabelledFiles(ImageFiles):
    """Image files with their class indices, and the classes' names or None."""

    def __init__(
        self, paths: list[Path], labels: list[int], classes: list[str] | None, report: SkipReport | None = None
    ):
        super().__init__(paths, report)
        self.labels = np.array(labels, np.int32)
        self.classes = classes


class ImageFolder(LabelledFiles):
    """`root/<class>/**/*.jpg`; the classes are the folders in the order of `sorted_classes`.

    Raises:
        FileNotFoundError: no such folder, or no class folder in it. ValueError: a class without images.
    """

    def __init__(self, root: str):
        if not os.path.isdir(root):
            raise FileNotFoundError(f"{root}: no such folder")
        report, found = SkipReport(), {}
        for entry in Path(root).iterdir():
            if entry.name.startswith("."):
                continue
            images = find_images(entry, report) if entry.is_dir() else []
            if images:
                found[entry.name] = images
            elif is_named_like_a_picture(entry.name):
                report.add("not in a class folder", f"{entry}")
            elif entry.is_dir():
                raise ValueError(f"{entry}: class folder without images ({', '.join(IMAGE_EXTENSIONS)})")
        if not found:
            raise FileNotFoundError(f"{root}: expected one folder per class (class/*.jpg) or *.tar shards with .cls")
        classes = sorted_classes(list(found))
        paths = [path for name in classes for path in found[name]]
        labels = [label for label, name in enumerate(classes) for _ in found[name]]
        super().__init__(paths, labels, classes, report)


class LabelledShards(ImageShards):
    """WebDataset shards whose samples hold an image and a `.cls` file with the class's index.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: no sample with both, or a `.cls` that is no index.
    """

    classes = None

    def __init__(self, pattern: str):
        super().__init__(pattern)
        self.keep(["cls" in self.members(index) for index in range(len(self))], "a .cls")
        self.labels = np.array([self._read_label(index) for index in range(len(self))], np.int32)

    def _read_label(self, index: int) -> int:
        path, offset, size = self.members(index)["cls"]
        text = read_span(path, offset, min(size, _MAX_LABEL)).strip()
        if size > _MAX_LABEL or not text.isdigit() or int(text) >= _MAX_CLASSES:
            raise ValueError(f"{self.key(index)}.cls: expected a class index (0, 1, ...), found {text[:40]!r}")
        return int(text)
