"""Labelled images from a folder of class folders or from WebDataset shards with `.cls`.

A labelled set has `len(set)`, `set.key(i)` (names the image in messages), `set.read(i)` (the encoded image, bytes),
`set.labels` int32 [N] and `set.classes` (what the layout itself calls the classes, or None).
"""

import os
from pathlib import Path

import numpy as np

from lightclip_ms.data.pairs import IMAGE_EXTENSIONS
from lightclip_ms.eval.sets.images import ImageFiles, ImageShards, find_images


def open_labelled(path: str):
    """`ImageFolder` for a folder of class folders, else `LabelledShards` of a pattern of tar files."""
    if os.path.isdir(path) and not any(entry.suffix == ".tar" for entry in Path(path).iterdir()):
        return ImageFolder(path)
    return LabelledShards(path)


class LabelledFiles(ImageFiles):
    """Image files with their class indices, and the classes' names or None."""

    def __init__(self, paths: list[Path], labels: list[int], classes: list[str] | None):
        super().__init__(paths)
        self.labels = np.array(labels, np.int32)
        self.classes = classes


class ImageFolder(LabelledFiles):
    """`root/<class>/**/*.jpg`; the classes are the sorted folder names.

    Raises:
        FileNotFoundError: no such folder, or no class folder in it. ValueError: a class without images.
    """

    def __init__(self, root: str):
        if not os.path.isdir(root):
            raise FileNotFoundError(f"{root}: no such folder")
        folders = sorted(entry for entry in Path(root).iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not folders:
            raise FileNotFoundError(f"{root}: expected one folder per class (class/*.jpg) or *.tar shards with .cls")
        paths, labels = [], []
        for label, folder in enumerate(folders):
            found = find_images(folder)
            if not found:
                raise ValueError(f"{folder}: class folder without images ({', '.join(IMAGE_EXTENSIONS)})")
            paths += found
            labels += [label] * len(found)
        super().__init__(paths, labels, [folder.name for folder in folders])


class LabelledShards(ImageShards):
    """WebDataset shards whose samples hold an image and a `.cls` file with the class's index.

    Raises:
        FileNotFoundError: a shard is missing. ValueError: no sample with both, or a `.cls` that is no index.
    """

    classes = None

    def __init__(self, pattern: str):
        super().__init__(pattern, "cls")
        self.labels = np.array([self._read_label(index) for index in range(len(self))], np.int32)

    def _read_label(self, index: int) -> int:
        text = self.read_companion(index).strip()
        if not text.isdigit():
            raise ValueError(f"{self.key(index)}.cls: expected a class index (0, 1, ...), found {text[:40]!r}")
        return int(text)


def match_classes(dataset, names: list[str] | None) -> list[str]:
    """Class names in the order of `dataset.labels`.

    Args:
        dataset: a labelled set.
        names: the user's list; matched to class folders by name where the names are the folders' (underscores count
            as spaces), else taken in label order. A line `folder<TAB>name` names its folder. None: the folders' own.

    Raises:
        ValueError: no names at all, a count that does not fit, or the name of one folder in the place of another.
    """
    folders = dataset.classes
    if names is None:
        if folders is None:
            raise ValueError("shards hold only class indices: give --classnames FILE, one name a line in that order")
        return [folder.replace("_", " ") for folder in folders]
    if any("\t" in name for name in names):
        named = dict(name.split("\t", 1) for name in names if "\t" in name)
        absent = [folder for folder in folders or () if folder not in named]
        if folders is None or absent:
            raise ValueError(f"class names: no line '{(absent or ['folder'])[0]}<TAB>name' for that class folder")
        return [named[folder] for folder in folders]
    spaced = [folder.replace("_", " ") for folder in folders or ()]
    by_folder = {name.replace("_", " "): name for name in names}
    if spaced and all(folder in by_folder for folder in spaced):
        return [by_folder[folder] for folder in spaced]
    expected = len(folders) if folders is not None else int(dataset.labels.max()) + 1
    if len(names) < expected or (folders is not None and len(names) != expected):
        raise ValueError(f"{len(names)} class names for {expected} classes: the list must have one name per class")
    for name, folder in zip(names, spaced):
        if name.replace("_", " ") in spaced and name.replace("_", " ") != folder:
            raise ValueError(
                f"class name {name!r} stands in the place of folder {folder!r}; name all folders, or write "
                "lines 'folder<TAB>name'"
            )
    return names
