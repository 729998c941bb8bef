"""Caption sets in the layouts of others."""

import json
import os
import socket

import numpy as np
import pytest

from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.eval.sets.labelled import open_labelled
from tests.data.data_files import write_tar


def test_several_captions_an_image(tmp_path):
    img2dataset = json.dumps({"caption": "not read again", "url": "https://x", "width": 3}).encode()
    members = [
        ("lines.jpg", b"1"), ("lines.txt", b"one\ntwo\r\n\n  three \n"),
        ("numbered.jpg", b"2"), *((f"numbered.{n}.txt", b"caption %d" % n) for n in (10, 2, 0)),
        ("listed.jpg", b"3"), ("listed.json", b'["a list", "of two"]'),
        ("beside.jpg", b"4"), ("beside.txt", b"plain"), ("beside.json", img2dataset),
        ("only.jpg", b"5"), ("only.json", b'{"caption": "from json", "sentences": [{"raw": "x"}]}'),
        ("raw.jpg", b"6"), ("raw.json", b'{"sentences": [{"raw": "r1"}, {"raw": "r2"}]}'),
        ("nothing.jpg", b"7"), ("nothing.json", b'{"url": "https://x"}'),
        ("alone.jpg", b"8"),
        ("blank.jpg", b"9"), ("blank.txt", b"&nbsp;\nfine\n"),
        ("bomb.jpg", b"10"), ("bomb.json", b"[" * 100_000),
        ("huge.jpg", b"11"), ("huge.txt", b"x" * (1 << 20) + b"y"),
    ]  # fmt: skip
    dataset = open_captions(write_tar(tmp_path / "a.tar", members))
    found = {}
    for owner, caption in zip(dataset.image_of_caption, dataset.captions):
        found.setdefault(dataset.read(int(owner)), []).append(caption)
    assert found == {
        b"1": ["one", "two", "three"],
        b"2": ["caption 0", "caption 2", "caption 10"],
        b"3": ["a list", "of two"],
        b"4": ["plain"],
        b"5": ["from json"],
        b"6": ["r1", "r2"],
        b"9": ["fine"],
    }
    assert len(dataset) == 7 and dataset.image_of_caption.dtype == np.int32
    assert dataset.report.counts["image without a text"] == 1 and dataset.report.counts["caption file too large"] == 1
    assert dataset.report.counts["empty caption"] == 3


def test_a_shard_without_captions(tmp_path):
    with pytest.raises(ValueError, match="a.tar: no image .* with a caption .*2 image without a text"):
        open_captions(write_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("2.jpg", b"y")]))


def test_labels_are_limited(tmp_path):
    for label in (b"9" * 30, b"1000000", b"0" * 3000, "²".encode()):
        with pytest.raises(ValueError, match="1.cls: expected a class index"):
            open_labelled(write_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.cls", label)]))


def test_what_is_only_named_like_a_picture_is_counted(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "cat/pipe.png")
    (tmp_path / "cat/folder.jpg").mkdir()
    (tmp_path / "cat/dangling.webp").symlink_to("nowhere")
    (tmp_path / "dog/device.gif").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "dog/socket.bmp"))
        (tmp_path / "loose.jpg").write_bytes(b"x")
        dataset, images = open_labelled(str(tmp_path)), open_images([str(tmp_path)])
    assert dataset.classes == ["cat", "dog"] and len(dataset) == 2 and len(images) == 3
    assert dataset.report.counts == {"named like a picture, but no file": 5, "not in a class folder": 1}
    assert images.report.counts == {"named like a picture, but no file": 5}
    os.remove(tmp_path / "cat/a.jpg")
    os.mkfifo(tmp_path / "cat/a.jpg")  # after the folder was listed
    with pytest.raises(BadRecord, match="no file"):
        dataset.read(0)
    with pytest.raises(ValueError, match="neither a picture file nor a folder"):
        open_images([str(tmp_path / "cat/pipe.png")])
