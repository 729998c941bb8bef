"""MindRecord files: random access against MindSpore's own reader, and files that are damaged or of another kind."""

import json
import os
import shutil

import numpy as np
import pytest
from mindspore.mindrecord import FileReader, FileWriter

from lightclip_ms.data import mindrecord
from lightclip_ms.data.mindrecord import MAX_IMAGE_BYTES, MindRecordPairs, write_mindrecord
from lightclip_ms.data.pairs import Pair, open_pairs
from lightclip_ms.data.skipped import BadRecord

COUNTS = [150, 1, 70]


def made_up(index):
    rng = np.random.default_rng(index)
    return f"shard: {index}", Pair(rng.bytes(int(rng.integers(1, 30_000))), f"caption ünï {index} 🐶")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """221 records in three files; of the first, the pages are full more than once."""
    root = tmp_path_factory.mktemp("records")
    original, mindrecord._PAGE_SIZE = mindrecord._PAGE_SIZE, 1 << 17
    first = 0
    for number, count in enumerate(COUNTS):
        assert (
            write_mindrecord(str(root / f"{number}.mindrecord"), (made_up(i) for i in range(first, first + count)))
            == count
        )
        first += count
    mindrecord._PAGE_SIZE = original
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_record_in_any_order(folder):
    source = open_pairs(str(folder))
    assert isinstance(source, MindRecordPairs) and len(source) == 221 and source.shard_sizes.tolist() == COUNTS
    for index in np.random.default_rng(0).permutation(221).tolist():
        assert source.read(index) == made_up(index)[1]
    assert source.key(150) == f"{folder}/1.mindrecord: shard: 150" and source.key(220).endswith(
        "2.mindrecord: shard: 220"
    )


def test_mindspore_reads_the_same(folder):
    source = MindRecordPairs(str(folder / "0.mindrecord"))
    reader = FileReader(str(folder / "0.mindrecord"))
    rows = list(reader.get_next())
    reader.close()
    assert [(row["image"], row["caption"].decode()) for row in rows] == [tuple(source.read(i)) for i in range(150)]


def test_the_largest_picture_fits(tmp_path):
    path = str(tmp_path / "a.mindrecord")
    pair = Pair(bytes(MAX_IMAGE_BYTES), "x" * 8192)
    assert write_mindrecord(path, [("large", pair), ("small", Pair(b"s", "y"))]) == 2
    assert MindRecordPairs(path).read(0) == pair and MindRecordPairs(path).read(1) == Pair(b"s", "y")
    assert write_mindrecord(str(tmp_path / "none.mindrecord"), []) == 0 and not (tmp_path / "none.mindrecord").exists()


def test_the_cached_index_is_the_index(folder, monkeypatch):
    monkeypatch.setattr(mindrecord, "_CACHED_FROM", 0)
    assert len(MindRecordPairs(str(folder))) == 221
    monkeypatch.setattr(mindrecord, "_query", lambda path, statement: pytest.fail("asked again"))
    source = MindRecordPairs(str(folder))
    assert source.read(200) == made_up(200)[1]


def copied(folder, tmp_path):
    for name in ("0.mindrecord", "0.mindrecord.db"):
        shutil.copyfile(folder / name, tmp_path / name)
    return tmp_path / "0.mindrecord"


def test_damage_is_a_bad_record_not_an_exception(folder, tmp_path):
    path = copied(folder, tmp_path)
    source = MindRecordPairs(str(path))
    data = bytearray(path.read_bytes())
    for offset, _ in source._spans[0][:10].tolist():
        data[offset + 8] ^= 0x40  # the first column's length
    path.write_bytes(data)
    for index in range(10):
        with pytest.raises(BadRecord, match="damaged MindRecord row"):
            source.read(index)
    assert source.read(10) == made_up(10)[1]
    os.truncate(path, int(source._spans[0][100, 0]) + 5)
    with pytest.raises(BadRecord, match="unreadable"):
        source.read(100)


def test_files_that_cannot_be_used(folder, tmp_path):
    path = copied(folder, tmp_path)
    (tmp_path / "0.mindrecord.db").write_bytes(b"SQLite format 3\0" + bytes(500))
    with pytest.raises(ValueError, match="0.mindrecord.db: damaged index"):
        MindRecordPairs(str(path))
    (tmp_path / "0.mindrecord.db").unlink()
    with pytest.raises(FileNotFoundError, match="the index of .* is missing"):
        MindRecordPairs(str(path))
    for name, content in (("empty", b""), ("text", b"hello " * 100), ("long", b"\xff" * 100)):
        (tmp_path / f"{name}.mindrecord").write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.mindrecord: not a MindRecord file"):
            MindRecordPairs(str(tmp_path / f"{name}.mindrecord"))
    writer = FileWriter(str(tmp_path / "other.mindrecord"))
    writer.add_schema({"picture": {"type": "bytes"}, "label": {"type": "int32"}})
    writer.write_raw_data([{"picture": b"x", "label": 1}])
    writer.commit()
    with pytest.raises(ValueError, match="other.mindrecord: columns .*picture.*prepare_data.py"):
        MindRecordPairs(str(tmp_path / "other.mindrecord"))


def test_a_folder_that_lacks_files_of_its_manifest_is_refused(folder, tmp_path):
    copied(folder, tmp_path)
    files = dict.fromkeys(("0.mindrecord", "0.mindrecord.db", "1.mindrecord", "1.mindrecord.db"))
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    with pytest.raises(
        FileNotFoundError, match="1.mindrecord: missing, and 1 more of the 4 files that .*manifest.json"
    ):
        MindRecordPairs(str(tmp_path))
    assert len(MindRecordPairs(str(tmp_path / "0.mindrecord")))  # a part is used only when it is named
    for other in ("null", "[", "{}", '{"files": 3}'):
        (tmp_path / "manifest.json").write_text(other)
        assert len(MindRecordPairs(str(tmp_path)))
