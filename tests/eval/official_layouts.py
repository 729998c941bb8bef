"""Tiny data sets in the layouts of the official archives: every class, one or two images each."""

import json

import numpy as np
from scipy.io import savemat

from lightclip_ms.eval.sets.prompts import built_in
from tests.data.data_files import encode


def jpeg(path, number):
    """A small grey picture whose brightness is its number, at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.full((10, 12, 3), number % 256, np.uint8), "JPEG"))


def lines(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")


def imagenet(root):
    for label in range(1000):
        jpeg(root / f"imagenet/val/n{label:08d}/ILSVRC2012_val_{label:08d}.JPEG", label)
    return list(range(1000))


def imagenet_flat(root):
    numbers = [3, 1, 2]  # ILSVRC2012_ID of each image; 4 is an inner node of the tree
    for position in range(3):
        jpeg(root / f"ILSVRC2012/val/ILSVRC2012_val_{position + 1:08d}.JPEG", position)
    kit = root / "ILSVRC2012/ILSVRC2012_devkit_t12/data"
    lines(kit / "ILSVRC2012_validation_ground_truth.txt", numbers)
    synsets = np.array(
        [(1, "n09", 0), (2, "n05", 0), (3, "n07", 0), (4, "n01", 3)],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")],
    )
    savemat(kit / "meta.mat", {"synsets": synsets})
    return [1, 2, 0]  # n07, n09, n05 in the order of sorted WordNet ids


def pets(root):
    for label in range(37):
        jpeg(root / f"oxford_pets/images/breed{label}_7.jpg", label)
    jpeg(root / "oxford_pets/images/breed0_1.jpg", 200)  # a training image
    lines(root / "oxford_pets/annotations/test.txt", [f"breed{label}_7 {label + 1} 1 1" for label in range(37)])
    return list(range(37))


def cifar(root, folder, file, names_file, key, coarse):
    labels = np.random.default_rng(0).permutation(len(built_in()[key]["classes"])).astype(np.uint8)
    pixels = np.random.default_rng(1).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    heads = [labels[:, None] // 5, labels[:, None]] if coarse else [labels[:, None]]
    (root / folder).mkdir(parents=True)
    np.concatenate([*heads, pixels], axis=1).tofile(root / folder / file)
    lines(root / folder / names_file, built_in()[key]["classes"])
    return labels.tolist()


def cifar10(root):
    return cifar(root, "cifar-10-batches-bin", "test_batch.bin", "batches.meta.txt", "cifar10", False)


def cifar100(root):
    return cifar(root, "cifar100/cifar-100-binary", "test.bin", "fine_label_names.txt", "cifar100", True)


def dtd(root):
    names = built_in()["dtd"]["classes"]
    for label, name in enumerate(names):
        jpeg(root / f"dtd/images/{name}/{name}_0002.jpg", label)
        jpeg(root / f"dtd/images/{name}/{name}_0001.jpg", 200)
    lines(root / "dtd/labels/test1.txt", [f"{name}/{name}_0002.jpg" for name in reversed(names)])
    return list(reversed(range(47)))


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    pixels = np.zeros((10, 3, 96, 96), np.uint8)
    pixels[:, 0, 5, 60] = 255  # column 5, row 60: the file is column-major
    pixels.tofile(folder / "test_X.bin")
    np.arange(10, 0, -1, dtype=np.uint8).tofile(folder / "test_y.bin")
    lines(folder / "class_names.txt", built_in()["stl10"]["classes"])
    return list(range(9, -1, -1))


def food101(root):
    names = [name.replace(" ", "_") for name in built_in()["food101"]["classes"]]
    for label, name in enumerate(names):
        jpeg(root / f"food-101/images/{name}/{label}.jpg", label)
    lines(root / "food-101/meta/classes.txt", names)
    lines(root / "food-101/meta/test.txt", [f"{name}/{label}" for label, name in enumerate(names)])
    return list(range(101))


def flowers102(root):
    for number in range(1, 205):
        jpeg(root / f"flowers102/jpg/image_{number:05d}.jpg", number)
    savemat(root / "flowers102/imagelabels.mat", {"labels": np.repeat(np.arange(1, 103), 2)[None, :].astype(np.uint8)})
    savemat(
        root / "flowers102/setid.mat", {"tstid": np.arange(2, 205, 2)[None, :], "trnid": np.arange(1, 204, 2)[None, :]}
    )
    return list(range(102))


def fer2013(root):
    rows = [
        f"{label},{' '.join([str(20 * label)] * 2304)},{usage}"
        for usage in ("Training", "PublicTest", "PrivateTest")
        for label in (6, 5, 4, 3, 2, 1, 0)
    ]
    lines(root / "fer2013/fer2013.csv", ["emotion,pixels,Usage", *rows])
    return [6, 5, 4, 3, 2, 1, 0]


def sun397(root):
    names = ["/a/abbey", "/a/apse/indoor", *(f"/z/place_{number}" for number in range(395))]
    for label, name in enumerate(names):
        jpeg(root / f"SUN397{name}/sun_{label}.jpg", label)
    lines(root / "SUN397/ClassName.txt", names)
    lines(root / "SUN397/Testing_01.txt", [f"{name}/sun_{label}.jpg" for label, name in enumerate(names)])
    return list(range(397))


def caltech101(root):
    classes = ["BACKGROUND_Google", "Faces", "Faces_easy", *(f"class_{number:03d}" for number in range(99))]
    for label, name in enumerate(classes):
        picture = encode(np.full((10, 10, 3), label, np.uint8), "JPEG")
        (root / "101_ObjectCategories" / name).mkdir(parents=True)
        for number in range(1, 32 + label % 2):
            (root / "101_ObjectCategories" / name / f"image_{number:04d}.jpg").write_bytes(picture)
    return [label for label in range(102) for _ in range(1 + label % 2)]


def flickr30k(root):
    images = [
        {
            "filename": f"{number}.jpg",
            "split": "test" if number % 2 else "train",
            "sentences": [{"raw": f"caption {number} {which}"} for which in range(5)],
        }
        for number in range(6)
    ]
    for number in (1, 3, 5):
        jpeg(root / f"flickr30k/flickr30k-images/{number}.jpg", number)
    (root / "flickr30k/dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))


def coco(root):
    images = [{"id": 10 * number, "file_name": f"{number:012d}.jpg"} for number in range(3)]
    annotations = [
        {"id": 100 - which - 10 * number, "image_id": 10 * number, "caption": f"caption {number} {which}"}
        for number in range(3)
        for which in range(6)
    ]
    for number in range(3):
        jpeg(root / f"coco/val2017/{number:012d}.jpg", number)
    (root / "coco/annotations").mkdir()
    (root / "coco/annotations/captions_val2017.json").write_text(
        json.dumps({"images": images, "annotations": annotations})
    )


CLASSIFICATION = {
    maker.__name__: maker
    for maker in (imagenet, pets, cifar10, cifar100, dtd, stl10, food101, flowers102, fer2013, sun397, caltech101)
}


def imagenet_training(root):
    for label in range(1000):
        jpeg(root / f"imagenet/train/n{label:08d}/n{label:08d}_1.JPEG", label)
    return list(range(1000))


def pets_training(root):
    for label in range(37):
        jpeg(root / f"oxford_pets/images/breed{label}_1.jpg", label)
    lines(root / "oxford_pets/annotations/trainval.txt", [f"breed{label}_1 {label + 1} 1 1" for label in range(37)])
    return list(range(37))


def cifar10_training(root):
    folder = root / "cifar-10-batches-bin"
    labels = np.arange(20, dtype=np.uint8) % 10
    for number, part in enumerate(labels.reshape(5, 4), 1):
        np.concatenate([part[:, None], np.zeros((4, 3072), np.uint8)], 1).tofile(folder / f"data_batch_{number}.bin")
    return labels.tolist()


def cifar100_training(root):
    labels = np.arange(100, dtype=np.uint8)[:, None]
    records = np.concatenate([labels // 5, labels, np.zeros((100, 3072), np.uint8)], 1)
    records.tofile(root / "cifar100/cifar-100-binary/train.bin")
    return list(range(100))


def dtd_training(root):
    names = built_in()["dtd"]["classes"]
    lines(root / "dtd/labels/train1.txt", [f"{name}/{name}_0001.jpg" for name in names])
    lines(root / "dtd/labels/val1.txt", [f"{names[3]}/{names[3]}_0001.jpg"])
    return [*range(47), 3]


def stl10_training(root):
    np.ones((10, 3, 96, 96), np.uint8).tofile(root / "stl10_binary/train_X.bin")
    np.arange(1, 11, dtype=np.uint8).tofile(root / "stl10_binary/train_y.bin")
    return list(range(10))


def food101_training(root):
    names = [name.replace(" ", "_") for name in built_in()["food101"]["classes"]]
    for label, name in enumerate(names):
        jpeg(root / f"food-101/images/{name}/more{label}.jpg", label)
    lines(root / "food-101/meta/train.txt", [f"{name}/more{label}" for label, name in enumerate(names)])
    return list(range(101))


def flowers102_training(root):
    numbers = np.arange(1, 204, 2)
    savemat(
        root / "flowers102/setid.mat",
        {"tstid": np.arange(2, 205, 2)[None, :], "trnid": numbers[None, :60], "valid": numbers[None, 60:]},
    )
    return list(range(102))


def fer2013_training(root):
    return [6, 5, 4, 3, 2, 1, 0]  # the table holds all parts


def sun397_training(root):
    names = (root / "SUN397/ClassName.txt").read_text(encoding="utf-8").split()
    for label, name in enumerate(names):
        jpeg(root / f"SUN397{name}/more_{label}.jpg", label)
    lines(root / "SUN397/Training_01.txt", [f"{name}/more_{label}.jpg" for label, name in enumerate(names)])
    return list(range(397))


def caltech101_training(root):
    return [label for label in range(102) for _ in range(30)]


TRAINING = {
    maker.__name__.removesuffix("_training"): maker
    for maker in (
        imagenet_training,
        pets_training,
        cifar10_training,
        cifar100_training,
        dtd_training,
        stl10_training,
        food101_training,
        flowers102_training,
        fer2013_training,
        sun397_training,
        caltech101_training,
    )
}
