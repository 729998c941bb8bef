"""The test split of each classification set of the paper, from its official archive's layout on disk.

MindSpore's own classes are streams without file names, so a damaged picture cannot be counted and named. They know no
test split of SUN397 and Caltech-101, and no Pets, DTD and FER-2013 at all. The readers here read CIFAR's binary version
(no pickles), and the tests compare them with MindSpore's where that reads the test split. Each reader takes the
folder of one set and returns a labelled set (`labelled.py`).
"""

import collections
import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.eval.sets.class_order import match_in_order
from lightclip_ms.eval.sets.images import find_images
from lightclip_ms.eval.sets.labelled import ImageFolder, LabelledFiles
from lightclip_ms.eval.sets.prompts import built_in

CALTECH_TRAINING = 30  # images of each class that are left for training


class LabelledArrays:
    """Images in memory.

    Args:
        pixels: uint8 [N, H, W] or [N, H, W, 3]; labels: N class indices; path: where they came from; classes: or None.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, path: Path, classes: list[str] | None):
        self._pixels, self._path = pixels, path
        self.labels = np.asarray(labels, np.int32)
        self.classes = classes

    def __len__(self) -> int:
        return len(self._pixels)

    def key(self, index: int) -> str:
        return f"{self._path}: image {index}"

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index])


def locate(key: str, data_root: str) -> Path | None:
    """The folder under `data_root` where set `key` lies, or None."""
    candidates = [Path(data_root, folder) for folder in built_in()[key]["folders"]]
    return next((folder for folder in candidates if folder.is_dir()), None)


def open_set(key: str, folder: Path):
    """The test split of set `key` in its folder, and its class names in label order.

    Raises:
        FileNotFoundError, ValueError: a file is missing, cut short or does not fit; the message names it.
    """
    dataset = READERS[key](folder)
    names = built_in()[key].get("classes") or dataset.classes
    if dataset.classes and len(dataset.classes) != len(names):
        raise ValueError(
            f"{folder}: {len(dataset.classes)} classes found, {len(names)} expected: is the archive whole?"
        )
    counts = collections.Counter(dataset.labels.tolist())
    unknown = [label for label in counts if not 0 <= label < len(names)]
    if unknown:
        raise ValueError(f"{folder}: label {unknown[0]}, counted from 0, of {len(names)} classes: is a file damaged?")
    empty = [name for label, name in enumerate(names) if label not in counts]
    if empty:
        raise ValueError(
            f"{folder}: no test image of class {empty[0]!r} ({len(empty)} of {len(names)} classes have none): "
            "is the archive whole?"
        )
    return dataset, match_in_order(dataset.classes, names) if dataset.classes else names


def imagenet(folder: Path):
    """`val/<WordNet id>/*.JPEG`, or the official flat `val` with the development kit beside it."""
    val = folder / "val"
    flat = sorted(val.glob("ILSVRC2012_val_*.JPEG"))
    if not flat:
        dataset = ImageFolder(str(val))
        strange = next((name for name in dataset.classes if not re.fullmatch(r"n\d{8}", name)), None)
        if strange:  # any other name would sort differently, and every label be wrong
            raise ValueError(f"{val / strange}: expected folders named by WordNet id, such as n01440764")
        return dataset
    kit = folder / "ILSVRC2012_devkit_t12" / "data"
    truth = [int(line) for line in _lines(kit / "ILSVRC2012_validation_ground_truth.txt")]
    if len(truth) != len(flat):
        raise ValueError(f"{val}: {len(flat)} images, but {len(truth)} labels in the development kit: unpack all of it")
    synsets = np.atleast_1d(_matrix(kit / "meta.mat")["synsets"])
    leaves = [entry for entry in synsets if int(entry["num_children"]) == 0]
    wordnet_ids = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in leaves}
    order = {wordnet_id: label for label, wordnet_id in enumerate(sorted(wordnet_ids.values()))}
    return LabelledFiles(flat, [order[wordnet_ids[number]] for number in truth], sorted(wordnet_ids.values()))


def pets(folder: Path):
    """`annotations/test.txt` (image, class 1..37, ...) and `images/*.jpg`."""
    rows = [line.split() for line in _lines(folder / "annotations" / "test.txt")]
    paths = [folder / "images" / f"{row[0]}.jpg" for row in rows]
    return LabelledFiles(_existing(paths), [int(row[1]) - 1 for row in rows], None)


def cifar10(folder: Path):
    """`test_batch.bin`: records of one label byte and 3 x 32 x 32 pixels."""
    return _cifar(folder / "test_batch.bin", folder / "batches.meta.txt", label_bytes=1)


def cifar100(folder: Path):
    """`test.bin`: records of a coarse and a fine label byte and 3 x 32 x 32 pixels."""
    return _cifar(folder / "test.bin", folder / "fine_label_names.txt", label_bytes=2)


def _cifar(path: Path, names: Path, label_bytes: int):
    record = label_bytes + 3 * 32 * 32
    records = _binary(path, record).reshape(-1, record)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return LabelledArrays(np.ascontiguousarray(pixels), records[:, label_bytes - 1], path, _lines(names))


def dtd(folder: Path):
    """`labels/test1.txt` and `images/<class>/*.jpg`."""
    return _listed(folder / "images", _lines(folder / "labels" / "test1.txt"), sorted_folders(folder / "images"))


def stl10(folder: Path):
    """`test_X.bin` (3 x 96 x 96, column-major), `test_y.bin` (1..10), `class_names.txt`."""
    pixels = _binary(folder / "test_X.bin", 3 * 96 * 96).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    labels = _binary(folder / "test_y.bin", 1).astype(np.int32) - 1
    if len(labels) != len(pixels):
        raise ValueError(f"{folder}: {len(pixels)} images in test_X.bin, but {len(labels)} labels in test_y.bin")
    names = _lines(folder / "class_names.txt")
    return LabelledArrays(np.ascontiguousarray(pixels), labels, folder / "test_X.bin", names)


def food101(folder: Path):
    """`meta/test.txt`, `meta/classes.txt` and `images/<class>/*.jpg`."""
    names = [f"{line}.jpg" for line in _lines(folder / "meta" / "test.txt")]
    return _listed(folder / "images", names, _lines(folder / "meta" / "classes.txt"))


def flowers102(folder: Path):
    """`setid.mat` (tstid), `imagelabels.mat` (1..102) and `jpg/image_00001.jpg`."""
    labels = np.atleast_1d(_matrix(folder / "imagelabels.mat")["labels"]).astype(int)
    numbers = np.atleast_1d(_matrix(folder / "setid.mat")["tstid"]).astype(int)
    paths = [folder / "jpg" / f"image_{number:05d}.jpg" for number in numbers]
    return LabelledFiles(_existing(paths), [labels[number - 1] - 1 for number in numbers], None)


def fer2013(folder: Path):
    """`fer2013.csv`: emotion, 48 x 48 grey pixels, Usage; the test split is PrivateTest."""
    path = folder / "fer2013.csv"
    _existing([path])
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if not {"emotion", "pixels", "Usage"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path}: expected the columns emotion, pixels, Usage; found {table.fieldnames}")
        rows = [row for row in table if row["Usage"] == "PrivateTest"]
    pixels = [np.array((row["pixels"] or "").split(), np.uint8) for row in rows]
    if not rows or any(len(image) != 48 * 48 for image in pixels):
        raise ValueError(f"{path}: no PrivateTest rows of 48 x 48 pixels, or one cut short; copy the file again")
    return LabelledArrays(np.stack(pixels).reshape(-1, 48, 48), [int(row["emotion"]) for row in rows], path, None)


def sun397(folder: Path):
    """`ClassName.txt`, `Testing_01.txt` (both with lines like /a/abbey...) and the images below the folder."""
    classes = [line.lstrip("/") for line in _lines(folder / "ClassName.txt")]
    split = folder / "Testing_01.txt"
    if not split.exists():
        split = folder / "Partitions" / "Testing_01.txt"
    dataset = _listed(folder, [line.lstrip("/") for line in _lines(split)], classes)
    dataset.classes = [" ".join(name.split("/")[1:]).replace("_", " ") for name in classes]
    return dataset


def caltech101(folder: Path):
    """`<class>/image_0001.jpg`; the first 30 images of each class are left for training."""
    classes = sorted_folders(folder)
    paths, labels, report = [], [], SkipReport()
    for label, name in enumerate(classes):
        images = find_images(folder / name, report)
        if len(images) <= CALTECH_TRAINING:
            raise ValueError(
                f"{folder / name}: {len(images)} images, more than {CALTECH_TRAINING} expected: is the archive whole?"
            )
        paths += images[CALTECH_TRAINING:]
        labels += [label] * (len(images) - CALTECH_TRAINING)
    return LabelledFiles(paths, labels, classes, report)


READERS: dict[str, Callable] = {
    reader.__name__: reader
    for reader in (imagenet, pets, cifar10, cifar100, dtd, stl10, food101, flowers102, fer2013, sun397, caltech101)
}


def sorted_folders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, in ASCII order."""
    _existing([folder])
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _listed(root: Path, names: list[str], classes: list[str]) -> LabelledFiles:
    """Files `root/<class>/<file>` of a split list; a class may be a path of several folders."""
    order = {name: label for label, name in enumerate(classes)}
    folders = [name.rsplit("/", 1)[0] for name in names]
    unknown = next((folder for folder in folders if folder not in order), None)
    if unknown is not None:
        raise ValueError(
            f"{root}: the split lists class {unknown!r}, which is none of the {len(classes)} classes: "
            "unpack the whole archive"
        )
    return LabelledFiles(_existing([root / name for name in names]), [order[folder] for folder in folders], classes)


def _existing(paths: list[Path]) -> list[Path]:
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: missing ({len(missing)} of {len(paths)} files): unpack the archive")
    return paths


def _lines(path: Path) -> list[str]:
    _existing([path])
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path}: empty; unpack the archive again")
    return lines


def _binary(path: Path, record: int) -> np.ndarray:
    _existing([path])
    size = path.stat().st_size
    if not size or size % record:
        raise ValueError(f"{path}: {size} bytes, expected a multiple of {record}: the download is cut short")
    return np.fromfile(path, np.uint8)


def _matrix(path: Path) -> dict:
    _existing([path])
    try:
        return loadmat(path, squeeze_me=True)
    except Exception as error:
        raise ValueError(f"{path}: not a MATLAB file ({error}): the download is cut short or damaged") from None
