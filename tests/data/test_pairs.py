"""Pairs from CSV/TSV tables and from tar shards."""

import os

import pytest

from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.skipped import BadRecord
from tests.data.data_files import write_table, write_tar


@pytest.mark.parametrize("ending, delimiter", [(".csv", ","), (".tsv", "\t")])
def test_table_rows(tmp_path, ending, delimiter):
    (tmp_path / "images").mkdir()
    captions = ["plain", 'with, "quotes" and\ttabs', "two\nlines", "ünïcode 🐶", "  spaces  "]
    for i in range(5):
        (tmp_path / f"images/{i}.jpg").write_bytes(b"picture %d" % i)
    rows = [["id", "filepath", "title"]] + [[i, f"images/{i}.jpg", text] for i, text in enumerate(captions)]
    source = open_pairs(write_table(tmp_path / f"t{ending}", rows, delimiter))
    assert len(source) == 5 and source.shard_sizes.sum() == 5 and not source.report.counts
    for i in (3, 0, 4, 2, 1):
        assert source.read(i) == (b"picture %d" % i, captions[i].strip())
    assert "t" + ending in source.key(2) and "images/2.jpg" in source.key(2)


def test_other_columns_separator_and_absolute_paths(tmp_path):
    (tmp_path / "x.png").write_bytes(b"p")
    path = write_table(tmp_path / "t.txt", [["text", "image"], ["hello", tmp_path / "x.png"]], "|")
    source = open_pairs(path, "csv", image_key="image", caption_key="text", separator="|")
    assert source.read(0) == (b"p", "hello")


def test_broken_rows_do_not_take_others_along(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"p")
    (tmp_path / "t.csv").write_bytes(
        b'filepath,title\r\na.jpg,one\na.jpg,"never closed\na.jpg,x,y\n\na.jpg,nul\x00 and \xff byte\n'
        b'a.jpg,"Hello" she said\na.jpg,"two\nlines ""q"""\na.jpg,' + b"x" * 200_000 + b"\na.jpg,last"
    )
    source = open_pairs(str(tmp_path / "t.csv"))
    found = [source.read(i).caption for i in range(len(source))]
    assert found == [
        "one",
        "never closed",
        "nul and \ufffd byte",
        "Hello she said",
        'two\nlines "q"',
        "x" * 8192,
        "last",
    ]
    assert source.report.counts == {"table row with a wrong number of fields": 1}


def test_rows_that_repeat_picture_and_caption(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"p")
    rows = [
        ["id", "filepath", "title"],
        [1, "a.jpg", "one"],
        [2, "a.jpg", "two"],
        [3, "a.jpg", "one"],
        [4, "b.jpg", "one"],
    ]
    source = open_pairs(write_table(tmp_path / "t.csv", rows))
    assert [source.key(i) for i in range(len(source))] == [
        f"{tmp_path}/t.csv: row {n} ({name})" for n, name in ((1, "a.jpg"), (2, "a.jpg"), (3, "b.jpg"))
    ]
    assert source.report.counts == {"duplicate row": 1}


def test_unusable_records_say_why(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.jpg").write_bytes(b"p")
    rows = [
        ["filepath", "title"],
        ["none.jpg", "x"],
        ["pipe", "x"],
        [".", "x"],
        ["a.jpg", " \t "],
        ["a\ud800.jpg".encode("utf-8", "replace").decode(), "x"],
    ]
    source = open_pairs(write_table(tmp_path / "t.csv", rows))
    reasons = []
    for i in range(len(source)):
        with pytest.raises(BadRecord) as error:
            source.read(i)
        reasons.append(error.value.reason)
    assert reasons == [
        "missing image file",
        "image path is no file",
        "image path is no file",
        "empty caption",
        "missing image file",
    ]


def test_tables_that_cannot_be_used(tmp_path):
    for content, message in [
        ("", "empty table"),
        ("filepath,title\n", "no row"),
        ("image,caption\na,b\n", "no column 'filepath'; found image, caption"),
    ]:
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            open_pairs(str(tmp_path / "t.csv"))
    with pytest.raises(FileNotFoundError):
        open_pairs(str(tmp_path / "missing.csv"))
    with pytest.raises(ValueError, match="cannot tell the format"):
        open_pairs(str(tmp_path / "t.data"))
    with pytest.raises(ValueError, match="no data set given"):
        open_pairs("")


def test_shards(tmp_path):
    write_tar(tmp_path / "0.tar", [("a.jpg", b"A"), ("a.txt", b"first"), ("b.jpg", b"B"), ("c.txt", b"lonely")])
    write_tar(
        tmp_path / "1.tar",
        [("a.png", b"C"), ("a.json", b"{}"), ("a.txt", b"caf\xe9\x00\n"), ("d.webp", b"D"), ("d.txt", b"\0 ")],
    )
    source = open_pairs(str(tmp_path))
    assert len(source) == 3 and source.shard_sizes.tolist() == [1, 2]
    assert source.read(0) == (b"A", "first") and source.read(1) == (b"C", "caf\ufffd")
    assert source.key(1) == f"{tmp_path}/1.tar: a"
    assert source.report.counts == {"image without a text": 1, "text without an image": 1}
    with pytest.raises(BadRecord, match="empty caption"):
        source.read(2)
    os.truncate(tmp_path / "0.tar", 600)
    with pytest.raises(BadRecord, match="unreadable"):
        source.read(0)


def test_shards_without_a_pair(tmp_path):
    write_tar(tmp_path / "0.tar", [("a.jpg", b"A"), ("b.jpg", b"B")])
    with pytest.raises(ValueError, match="no picture .* with a .txt caption"):
        open_pairs(str(tmp_path / "0.tar"))
