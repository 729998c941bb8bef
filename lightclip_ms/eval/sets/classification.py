"""The splits of each classification set of the paper, from its official archive's layout on disk.

MindSpore's own classes are streams without file names, so a damaged picture cannot be counted and named. They know no
test split of SUN397 and Caltech-101, and no Pets, DTD and FER-2013 at all. The readers here read CIFAR's binary version
(no pickles), and the tests compare them with MindSpore's where that reads the test split. Each reader takes the
folder of one set and a split, "test" or "train" (for probes; a set's validation part belongs to "train"), and returns a
labelled set (`labelled.py`).
"""

import collections
import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.eval.sets.archives import (
    LabelledArrays,
    existing,
    listed_files,
    read_binary,
    read_lines,
    read_matrix,
    sorted_folders,
)
from lightclip_ms.eval.sets.class_order import match_in_order
from lightclip_ms.eval.sets.images import find_images
from lightclip_ms.eval.sets.labelled import ImageFolder, LabelledFiles
from lightclip_ms.eval.sets.prompts import built_in

CALTECH_TRAINING = 30  # images of each class that are left for training


def locate(key: str, data_root: str) -> Path | None:
    """The folder under `data_root` where set `key` lies, or None."""
    candidates = [Path(data_root, folder) for folder in built_in()[key]["folders"]]
    return next((folder for folder in candidates if folder.is_dir()), None)


def open_set(key: str, folder: Path, split: str = "test"):
    """A split of set `key` in its folder, and its class names in label order.

    Args:
        split: "test" or "train".

    Raises:
        FileNotFoundError, ValueError: a file is missing, cut short or does not fit; the message names it.
    """
    dataset = READERS[key](folder, split)
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
            f"{folder}: no {split} image of class {empty[0]!r} ({len(empty)} of {len(names)} classes have none): "
            "is the archive whole?"
        )
    return dataset, match_in_order(dataset.classes, names) if dataset.classes else names


def imagenet(folder: Path, split: str):
    """`train` or `val` of `<WordNet id>/*.JPEG`, or the official flat `val` with the development kit beside it."""
    if split == "train":
        return _wordnet_folders(folder / "train")
    val = folder / "val"
    flat = sorted(val.glob("ILSVRC2012_val_*.JPEG"))
    if not flat:
        return _wordnet_folders(val)
    kit = folder / "ILSVRC2012_devkit_t12" / "data"
    truth = [int(line) for line in read_lines(kit / "ILSVRC2012_validation_ground_truth.txt")]
    if len(truth) != len(flat):
        raise ValueError(f"{val}: {len(flat)} images, but {len(truth)} labels in the development kit: unpack all of it")
    synsets = np.atleast_1d(read_matrix(kit / "meta.mat")["synsets"])
    leaves = [entry for entry in synsets if int(entry["num_children"]) == 0]
    wordnet_ids = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in leaves}
    order = {wordnet_id: label for label, wordnet_id in enumerate(sorted(wordnet_ids.values()))}
    return LabelledFiles(flat, [order[wordnet_ids[number]] for number in truth], sorted(wordnet_ids.values()))


def _wordnet_folders(root: Path):
    dataset = ImageFolder(str(root))
    strange = next((name for name in dataset.classes if not re.fullmatch(r"n\d{8}", name)), None)
    if strange:  # any other name would sort differently, and every label be wrong
        raise ValueError(f"{root / strange}: expected folders named by WordNet id, such as n01440764")
    return dataset


def pets(folder: Path, split: str):
    """`annotations/test.txt` or `trainval.txt` (image, class 1..37, ...) and `images/*.jpg`."""
    listed = folder / "annotations" / {"train": "trainval.txt", "test": "test.txt"}[split]
    rows = [line.split() for line in read_lines(listed)]
    paths = [folder / "images" / f"{row[0]}.jpg" for row in rows]
    return LabelledFiles(existing(paths), [int(row[1]) - 1 for row in rows], None)


def cifar10(folder: Path, split: str):
    """`test_batch.bin` or `data_batch_1.bin` to 5: records of one label byte and 3 x 32 x 32 pixels."""
    files = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}[split]
    return _cifar([folder / name for name in files], folder / "batches.meta.txt", label_bytes=1)


def cifar100(folder: Path, split: str):
    """`test.bin` or `train.bin`: records of a coarse and a fine label byte and 3 x 32 x 32 pixels."""
    return _cifar([folder / f"{split}.bin"], folder / "fine_label_names.txt", label_bytes=2)


def _cifar(paths: list[Path], names: Path, label_bytes: int):
    record = label_bytes + 3 * 32 * 32
    records = np.concatenate([read_binary(path, record) for path in paths]).reshape(-1, record)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return LabelledArrays(np.ascontiguousarray(pixels), records[:, label_bytes - 1], paths[0], read_lines(names))


def dtd(folder: Path, split: str):
    """`labels/test1.txt`, or `train1.txt` and `val1.txt`, and `images/<class>/*.jpg`."""
    lists = {"train": ("train1.txt", "val1.txt"), "test": ("test1.txt",)}[split]
    listed = [line for name in lists for line in read_lines(folder / "labels" / name)]
    return listed_files(folder / "images", listed, sorted_folders(folder / "images"))


def stl10(folder: Path, split: str):
    """`test_X.bin` or `train_X.bin` (3 x 96 x 96, column-major), `test_y.bin` (1..10), `class_names.txt`."""
    pixels = read_binary(folder / f"{split}_X.bin", 3 * 96 * 96).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    labels = read_binary(folder / f"{split}_y.bin", 1).astype(np.int32) - 1
    if len(labels) != len(pixels):
        raise ValueError(f"{folder}: {len(pixels)} images in {split}_X.bin, but {len(labels)} labels in {split}_y.bin")
    names = read_lines(folder / "class_names.txt")
    return LabelledArrays(np.ascontiguousarray(pixels), labels, folder / f"{split}_X.bin", names)


def food101(folder: Path, split: str):
    """`meta/test.txt` or `train.txt`, `meta/classes.txt` and `images/<class>/*.jpg`."""
    names = [f"{line}.jpg" for line in read_lines(folder / "meta" / f"{split}.txt")]
    return listed_files(folder / "images", names, read_lines(folder / "meta" / "classes.txt"))


def flowers102(folder: Path, split: str):
    """`setid.mat` (tstid, or trnid and valid), `imagelabels.mat` (1..102) and `jpg/image_00001.jpg`."""
    labels = np.atleast_1d(read_matrix(folder / "imagelabels.mat")["labels"]).astype(int)
    parts = {"train": ("trnid", "valid"), "test": ("tstid",)}[split]
    listed = read_matrix(folder / "setid.mat")
    numbers = np.concatenate([np.atleast_1d(listed[part]).astype(int) for part in parts])
    paths = [folder / "jpg" / f"image_{number:05d}.jpg" for number in numbers]
    return LabelledFiles(existing(paths), [labels[number - 1] - 1 for number in numbers], None)


def fer2013(folder: Path, split: str):
    """`fer2013.csv`: emotion, 48 x 48 grey pixels, Usage: Training or PrivateTest."""
    usage = {"train": "Training", "test": "PrivateTest"}[split]
    path = folder / "fer2013.csv"
    existing([path])
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if not {"emotion", "pixels", "Usage"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path}: expected the columns emotion, pixels, Usage; found {table.fieldnames}")
        rows = [row for row in table if row["Usage"] == usage]
    pixels = [np.array((row["pixels"] or "").split(), np.uint8) for row in rows]
    if not rows or any(len(image) != 48 * 48 for image in pixels):
        raise ValueError(f"{path}: no {usage} rows of 48 x 48 pixels, or one cut short; copy the file again")
    return LabelledArrays(np.stack(pixels).reshape(-1, 48, 48), [int(row["emotion"]) for row in rows], path, None)


def sun397(folder: Path, split: str):
    """`ClassName.txt`, `Testing_01.txt` or `Training_01.txt` (lines like /a/abbey...) and the images under it."""
    classes = [line.lstrip("/") for line in read_lines(folder / "ClassName.txt")]
    name = {"train": "Training_01.txt", "test": "Testing_01.txt"}[split]
    listed = folder / name
    if not listed.exists():
        listed = folder / "Partitions" / name
    dataset = listed_files(folder, [line.lstrip("/") for line in read_lines(listed)], classes)
    dataset.classes = [" ".join(name.split("/")[1:]).replace("_", " ") for name in classes]
    return dataset


def caltech101(folder: Path, split: str):
    """`<class>/image_0001.jpg`; the first 30 images of each class are for training."""
    chosen = {"train": slice(CALTECH_TRAINING), "test": slice(CALTECH_TRAINING, None)}[split]
    classes = sorted_folders(folder)
    paths, labels, report = [], [], SkipReport()
    for label, name in enumerate(classes):
        images = find_images(folder / name, report)
        if len(images) <= CALTECH_TRAINING:
            raise ValueError(
                f"{folder / name}: {len(images)} images, more than {CALTECH_TRAINING} expected: is the archive whole?"
            )
        paths += images[chosen]
        labels += [label] * len(images[chosen])
    return LabelledFiles(paths, labels, classes, report)


READERS: dict[str, Callable] = {
    reader.__name__: reader
    for reader in (imagenet, pets, cifar10, cifar100, dtd, stl10, food101, flowers102, fer2013, sun397, caltech101)
}
