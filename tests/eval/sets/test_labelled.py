"""Labelled sets: folders and shards, their order of classes, and the messages for broken ones."""

import numpy as np
import pytest

from lightclip_ms.eval.sets.labelled import ImageFolder, LabelledShards, match_classes, open_labelled
from tests.data.data_files import write_tar
from tests.eval.known_towers import picture


def make_folder(root, contents):
    for name in contents:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("red"))
    return str(root)


def test_folder_of_class_folders(tmp_path):
    root = make_folder(tmp_path / "set", ["tabby_cat/b.png", "tabby_cat/a.JPG", "dog/deep/er/x.png", ".hidden/x.png"])
    (tmp_path / "set/dog/notes.txt").write_text("no image")
    dataset = open_labelled(root)
    assert isinstance(dataset, ImageFolder) and dataset.classes == ["dog", "tabby_cat"]
    assert dataset.labels.tolist() == [0, 1, 1] and dataset.labels.dtype == np.int32
    assert [dataset.key(i).rsplit("/", 1)[1] for i in range(3)] == ["x.png", "a.JPG", "b.png"]
    assert dataset.read(0) == picture("red")
    assert match_classes(dataset, None) == ["dog", "tabby cat"]


def test_names_are_matched_to_folders_by_name_tab_or_order(tmp_path):
    dataset = open_labelled(make_folder(tmp_path / "set", ["n01/a.png", "n02/a.png"]))
    assert match_classes(dataset, ["first", "second"]) == ["first", "second"]
    assert match_classes(dataset, ["n02\tsecond", "n01\tfirst", "n03\tthird"]) == ["first", "second"]
    assert match_classes(dataset, ["n02", "n01"]) == ["n01", "n02"]
    for names, words in (
        (["one"], "1 class names for 2 classes"),
        (["n01\tfirst"], "n02<TAB>name"),
        (["a", "b", "c"], "3 class names for 2"),
        (["x", "n01"], "'n01' stands in the place of folder 'n02'"),
    ):
        with pytest.raises(ValueError, match=words):
            match_classes(dataset, names)


def test_shards(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        [
            ("1.png", picture("red")),
            ("1.cls", b"2\n"),
            ("2.jpg", picture("blue")),
            ("2.cls", b"0"),
            ("3.png", picture("red")),
        ],
    )
    dataset = open_labelled(path)
    assert isinstance(dataset, LabelledShards) and dataset.labels.tolist() == [2, 0]
    assert dataset.read(1) == picture("blue") and dataset.key(1) == f"{path}: 2"
    assert len(open_labelled(str(tmp_path))) == 2  # a folder of shards
    with pytest.raises(ValueError, match="--classnames"):
        match_classes(dataset, None)
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        match_classes(dataset, ["a", "b"])


@pytest.mark.parametrize(
    "members, words",
    [
        ([("1.png", b"x"), ("1.cls", b"cat")], r"1\.cls: expected a class index.*cat"),
        ([("1.png", b"x"), ("2.cls", b"1")], "no image .* with a .cls"),
    ],
)
def test_bad_shards(tmp_path, members, words):
    with pytest.raises(ValueError, match=words):
        open_labelled(write_tar(tmp_path / "a.tar", members))


def test_a_cut_shard_is_no_test_set(tmp_path):
    members = [
        (name, data)
        for number in range(5)
        for name, data in ((f"{number}.png", picture("red")), (f"{number}.cls", b"0"))
    ]
    path = write_tar(tmp_path / "a.tar", members)
    with open(path, "r+b") as file:
        file.truncate(4000)
    with pytest.raises(
        ValueError, match=r"a.tar: readable up to byte .* of 4000: damaged or truncated tar; copy the shard again"
    ):
        open_labelled(path)


def test_bad_folders(tmp_path):
    make_folder(tmp_path / "set", ["dog/a.png"])
    (tmp_path / "set/empty").mkdir()
    with pytest.raises(ValueError, match="empty: class folder without images"):
        open_labelled(str(tmp_path / "set"))
    (tmp_path / "flat").mkdir()
    with pytest.raises(FileNotFoundError, match="one folder per class"):
        open_labelled(str(tmp_path / "flat"))
    with pytest.raises(FileNotFoundError, match="nothing"):
        open_labelled(str(tmp_path / "nothing"))
