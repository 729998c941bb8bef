"""Every data set of the paper in its official layout: split, count, class order, and what is said of broken ones."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.eval_transform import EvalTransform
from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.run import evaluate_zeroshot
from lightclip_ms.eval.sets import classification as sets
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.eval.sets.prompts import built_in
from tests import ROOT
from tests.data.data_files import write_tar
from tests.eval import official_layouts

MEAN_PER_CLASS = {"pets", "flowers102", "caltech101"}


@pytest.mark.parametrize("key", official_layouts.CLASSIFICATION)
def test_split_count_and_class_order(key, tmp_path):
    assert sets.locate(key, str(tmp_path)) is None
    expected = official_layouts.CLASSIFICATION[key](tmp_path)
    dataset, names = sets.open_set(key, sets.locate(key, str(tmp_path)))
    assert dataset.labels.tolist() == expected and len(dataset) == len(expected)
    assert len(names) == max(expected) + 1
    assert built_in()[key]["metric"] == ("mean_per_class" if key in MEAN_PER_CLASS else "top1")
    first = dataset.read(0)
    image = first if isinstance(first, Image.Image) else Image.fromarray(EncodedImage(first).decode())
    assert min(image.size) >= 10 and dataset.key(0)


@pytest.mark.parametrize("key", official_layouts.TRAINING)
def test_training_split(key, tmp_path):
    official_layouts.CLASSIFICATION[key](tmp_path)
    expected = official_layouts.TRAINING[key](tmp_path)
    dataset, names = sets.open_set(key, sets.locate(key, str(tmp_path)), "train")
    assert dataset.labels.tolist() == expected and len(dataset) == len(expected)
    assert names == sets.open_set(key, sets.locate(key, str(tmp_path)))[1]
    assert dataset.key(len(dataset) - 1) and dataset.read(len(dataset) - 1)


def test_pixels_of_the_binary_formats(tmp_path):
    official_layouts.cifar10(tmp_path)
    raw = np.fromfile(tmp_path / "cifar-10-batches-bin/test_batch.bin", np.uint8).reshape(-1, 3073)
    dataset, _ = sets.open_set("cifar10", sets.locate("cifar10", str(tmp_path)))
    pixels = np.asarray(dataset.read(4))
    assert all(
        pixels[y, x, c] == raw[4, 1 + 1024 * c + 32 * y + x] for y in (0, 7, 31) for x in (0, 30) for c in range(3)
    )
    official_layouts.stl10(tmp_path)
    dataset, _ = sets.open_set("stl10", sets.locate("stl10", str(tmp_path)))
    assert tuple(np.argwhere(np.asarray(dataset.read(0)))[0]) == (60, 5, 0)
    official_layouts.fer2013(tmp_path)
    dataset, _ = sets.open_set("fer2013", sets.locate("fer2013", str(tmp_path)))
    assert np.asarray(dataset.read(0)).shape == (48, 48) and np.asarray(dataset.read(0)).max() == 120


def _pixels(image):
    return np.asarray(image) if isinstance(image, Image.Image) else EncodedImage(image).decode()


def assert_same_rows(dataset, theirs, label="label", every=1):
    """The set has the rows of a MindSpore data set in its order; pictures are compared at each `every`th row."""
    for index, row in enumerate(theirs.create_dict_iterator(num_epochs=1, output_numpy=True)):
        name = row[label].item()
        assert (dataset.classes.index(name) if isinstance(name, str) else name) == dataset.labels[index]
        if index % every == 0:
            image = row["image"] if row["image"].ndim == 3 else _pixels(row["image"].tobytes())
            np.testing.assert_array_equal(_pixels(dataset.read(index)), image)
    assert index + 1 == len(dataset)


def _mindspore(key, folder):
    import mindspore.dataset as ds

    return {
        "imagenet": lambda: ds.ImageFolderDataset(f"{folder}/val", shuffle=False),
        "stl10": lambda: ds.STL10Dataset(folder, usage="test", shuffle=False),
        "food101": lambda: ds.Food101Dataset(folder, usage="test", shuffle=False),
        "flowers102": lambda: ds.Flowers102Dataset(folder, "Classification", "test", decode=True, shuffle=False),
        "cifar10": lambda: ds.Cifar10Dataset(folder, usage="test", shuffle=False),
        "cifar100": lambda: ds.Cifar100Dataset(folder, usage="test", shuffle=False),
    }[key]()


@pytest.mark.parametrize("key", ["imagenet", "stl10", "food101", "flowers102"])
def test_a_set_reads_as_mindspore_reads_it(key, tmp_path):
    official_layouts.CLASSIFICATION[key](tmp_path)
    folder = sets.locate(key, str(tmp_path))
    assert_same_rows(sets.open_set(key, folder)[0], _mindspore(key, str(folder)), every=10)


@pytest.mark.parametrize(
    "key, file, names, heads",
    [
        ("cifar10", "test_batch.bin", "batches.meta.txt", [10]),
        ("cifar100", "test.bin", "fine_label_names.txt", [20, 100]),
    ],
)
def test_cifar_reads_as_mindspore_reads_it(key, file, names, heads, tmp_path):
    records = np.random.default_rng(0).integers(0, 256, (10000, 3072 + len(heads)), dtype=np.uint8)  # it takes no fewer
    records[:, : len(heads)] %= np.array(heads, np.uint8)
    records.tofile(tmp_path / file)
    official_layouts.lines(tmp_path / names, built_in()[key]["classes"])
    label = "label" if key == "cifar10" else "fine_label"
    assert_same_rows(sets.open_set(key, tmp_path)[0], _mindspore(key, str(tmp_path)), label, every=1000)


def test_mindspore_knows_the_same_classes_where_it_knows_no_test_split(tmp_path):
    import mindspore.dataset as ds

    official_layouts.sun397(tmp_path)
    dataset, _ = sets.open_set("sun397", tmp_path / "SUN397")
    theirs = ds.SUN397Dataset(str(tmp_path / "SUN397"), shuffle=False)
    rows = list(theirs.create_dict_iterator(num_epochs=1, output_numpy=True))
    mine = {dataset.read(index): label for index, label in enumerate(dataset.labels.tolist())}
    assert len(rows) == len(dataset) and all(mine[row["image"].tobytes()] % 256 == row["label"] % 256 for row in rows)


def test_flat_imagenet_with_the_development_kit(tmp_path):
    expected = official_layouts.imagenet_flat(tmp_path)
    dataset = sets.imagenet(tmp_path / "ILSVRC2012", "test")
    assert dataset.labels.tolist() == expected and dataset.classes == ["n05", "n07", "n09"]
    with pytest.raises(ValueError, match="3 classes found, 1000 expected"):
        sets.open_set("imagenet", tmp_path / "ILSVRC2012")
    (tmp_path / "ILSVRC2012/ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"MATLAB 5.0 but no more")
    with pytest.raises(ValueError, match="meta.mat: not a MATLAB file"):
        sets.imagenet(tmp_path / "ILSVRC2012", "test")


def test_sun397_takes_its_names_from_the_archive(tmp_path):
    official_layouts.sun397(tmp_path)
    _, names = sets.open_set("sun397", sets.locate("sun397", str(tmp_path)))
    assert names[:3] == ["abbey", "apse indoor", "place 0"]


def test_metric_per_set_is_the_reported_one():
    counts = {
        "imagenet": 1000,
        "pets": 37,
        "cifar10": 10,
        "cifar100": 100,
        "dtd": 47,
        "stl10": 10,
        "food101": 101,
        "flowers102": 102,
        "fer2013": 7,
        "caltech101": 102,
    }
    assert {key: len(built_in()[key]["classes"]) for key in counts} == counts
    assert set(sets.READERS) == {*counts, "sun397"}
    for key in sets.READERS:
        assert all("{}" in template for template in built_in()[key]["templates"])


def _truncate(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


BROKEN = {
    "cifar10": (
        lambda root: _truncate(root / "cifar-10-batches-bin/test_batch.bin", 5000),
        "test_batch.bin: 5000 bytes",
    ),
    "cifar100": (lambda root: (root / "cifar100/cifar-100-binary/test.bin").unlink(), "test.bin: missing"),
    "stl10": (lambda root: _truncate(root / "stl10_binary/test_y.bin", 9), "10 images in test_X.bin, but 9 labels"),
    "pets": (lambda root: (root / "oxford_pets/annotations/test.txt").unlink(), "annotations/test.txt: missing"),
    "dtd": (lambda root: shutil.rmtree(root / "dtd/images/woven"), "woven.* none of the 46 classes"),
    "food101": (lambda root: (root / "food-101/images/waffles/100.jpg").unlink(), "100.jpg: missing .1 of 101 files"),
    "flowers102": (lambda root: (root / "flowers102/setid.mat").write_bytes(b""), "setid.mat: not a MATLAB file"),
    "fer2013": (
        lambda root: (root / "fer2013/fer2013.csv").write_text("emotion,pixels,Usage\n0,1 2 3,PrivateTest\n"),
        "no PrivateTest rows of 48 x 48",
    ),
    "sun397": (lambda root: (root / "SUN397/Testing_01.txt").unlink(), "Testing_01.txt: missing"),
    "stl10 labels": (
        lambda root: (root / "stl10_binary/test_y.bin").write_bytes(bytes(range(10))),
        "label -1, counted from 0",
    ),
    "fer2013 class": (
        lambda root: official_layouts.lines(
            root / "fer2013/fer2013.csv",
            [row for row in (root / "fer2013/fer2013.csv").read_text().splitlines() if row[0] != "3"],
        ),
        "no test image of class 'happy' .1 of 7",
    ),
    "caltech101": (lambda root: (root / "101_ObjectCategories/extra").mkdir(), "extra: 0 images, more than 30"),
    "imagenet numbers": (
        lambda root: (root / "imagenet/val/n00000005").rename(root / "imagenet/val/5"),
        "val/5: expected folders named by WordNet id",
    ),
    "stl10 order": (
        lambda root: official_layouts.lines(
            root / "stl10_binary/class_names.txt", ["plane", "car", "bird", *built_in()["stl10"]["classes"][3:]]
        ),
        "'bird' stands in the place of folder 'car'",
    ),
    "imagenet": (
        lambda root: (root / "imagenet/val/n00000005/ILSVRC2012_val_00000005.JPEG").unlink(),
        "n00000005: class folder without images",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_set_names_the_file(case, tmp_path):
    key = case.split()[0]
    official_layouts.CLASSIFICATION[key](tmp_path)
    damage, words = BROKEN[case]
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        sets.open_set(key, sets.locate(key, str(tmp_path)))


class ProjectionTowers:
    """A fixed random projection of the pixels."""

    checksum, embed_dim, image_size = "p" * 64, 16, 32

    def __init__(self):
        self.preprocess = EvalTransform(32)
        self._weights = np.random.default_rng(0).normal(size=(3 * 32 * 32, 16)).astype(np.float32)

    def encode_images(self, images):
        return images.reshape(len(images), -1) @ self._weights

    def tokenize(self, texts):
        return np.array([[sum(map(ord, text))] for text in texts], np.int32)

    def encode_texts(self, ids):
        return np.stack([np.random.default_rng(int(number)).normal(size=16) for number in ids[:, 0]])


def _photos():
    shared = os.environ.get("LIGHTCLIP_SHARED") or ROOT.parent / "shared"
    return Path(shared, "data", "cifar10", "test-00000.tar")


@pytest.mark.skipif(not _photos().is_file(), reason="needs the CIFAR-10 test photos beside the checkout")
def test_real_photos_score_the_same_from_every_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = built_in()["cifar10"]["classes"]
    photos = open_labelled(str(_photos()))
    chosen = range(0, len(photos), len(photos) // 300)
    labels = photos.labels[list(chosen)]
    data = [photos.read(index) for index in chosen]
    pixels = np.stack([EncodedImage(photo).decode() for photo in data])
    binary = tmp_path / "cifar-10-batches-bin"
    binary.mkdir()
    np.concatenate(
        [labels[:, None].astype(np.uint8), pixels.transpose(0, 3, 1, 2).reshape(len(data), -1)], axis=1
    ).tofile(binary / "test_batch.bin")
    (binary / "batches.meta.txt").write_text("\n".join(names))
    members = []
    for number, (label, photo) in enumerate(zip(labels, data)):
        path = tmp_path / "folder" / names[label] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
        members += [(f"{number:05d}.jpg", photo), (f"{number:05d}.cls", str(label).encode())]
    shard = write_tar(tmp_path / "photos.tar", members)

    runner = Embedder(ProjectionTowers(), batch_size=64)
    results = [
        evaluate_zeroshot(runner, dataset, names, ["a photo of a {}."])
        for dataset in (open_labelled(str(tmp_path / "folder")), open_labelled(shard), sets.cifar10(binary, "test"))
    ]
    scores = [{key: result[key] for key in ("top1", "top5", "mean_per_class", "images")} for result in results]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0]["images"] == len(data) and 0 < scores[0]["top1"] < 100
    assert results[0]["texts_per_second"] is not None and results[1]["texts_per_second"] is None  # from the cache
