"""Random access to tar shards, patterns, and archives that are broken or hostile."""

import os
import tarfile

import numpy as np
import pytest

from lightclip_ms.data import tar_index
from lightclip_ms.data.tar_index import TarIndex, expand_shards
from tests.data.data_files import write_tar


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_every_member_as_tarfile_does(tmp_path, format):
    rng = np.random.default_rng(0)
    paths = []
    for shard, count in enumerate([3, 0, 5]):
        long = "deep/" * 25 if format != tarfile.USTAR_FORMAT else "deep/"
        members = [
            (f"{long}{i:04d}.{ext}", rng.bytes(int(rng.integers(0, 2000))))
            for i in range(count)
            for ext in ("JPG", "txt", "seg.png")
        ]
        paths.append(write_tar(tmp_path / f"{shard}.tar", members, format))
    index = TarIndex(str(tmp_path / "{0..2}.tar"))
    assert len(index) == 8 and index.shard_sizes.tolist() == [3, 0, 5] and not index.report.counts
    seen = 0
    for path, first in zip(paths, [0, 3, 3]):
        with tarfile.open(path) as archive:
            for number, member in enumerate(archive.getmembers()):
                sample, extension = first + number // 3, member.name.split(".", 1)[1].lower()
                assert index.read(sample, extension) == archive.extractfile(member).read()
                assert index.members(sample)[extension] == (path, member.offset_data, member.size)
                assert index.key(sample) == member.name.split(".")[0]
                seen += 1
    assert seen == 24
    with pytest.raises(IndexError):
        index.read(8, "jpg")


def test_scattered_members_and_wanted_extensions(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        [
            ("1.jpg", b"A"),
            ("2.jpg", b"B"),
            ("1.json", b"{}"),
            ("2.txt", b"b"),
            ("1.txt", b"a"),
            ("3.json", b"[]"),
            ("readme", b"no extension"),
        ],
    )
    index = TarIndex(path, {"jpg", "txt"})
    assert [sorted(index.members(i)) for i in range(len(index))] == [["jpg", "txt"], ["jpg", "txt"], [], []]
    assert index.read(0, "txt") == b"a" and index.read(1, "jpg") == b"B"
    assert index.has(("jpg",)).tolist() == [True, True, False, False]
    assert TarIndex(path).has(("json", "txt")).tolist() == [True, True, True, False]


def test_patterns(tmp_path):
    for name in ("a-000.tar", "a-001.tar", "a-002.tar", "b.tar", "odd{x}.tar"):
        (tmp_path / name).touch()

    def at(*names):
        return [str(tmp_path / name) for name in names]

    assert expand_shards(str(tmp_path / "a-{000..002}.tar")) == at("a-000.tar", "a-001.tar", "a-002.tar")
    assert expand_shards(str(tmp_path / "{b,a-00{0,2}}.tar")) == at("b.tar", "a-000.tar", "a-002.tar")
    assert expand_shards(str(tmp_path / "a-*.tar")) == at("a-000.tar", "a-001.tar", "a-002.tar")
    assert expand_shards(str(tmp_path)) == at("a-000.tar", "a-001.tar", "a-002.tar", "b.tar", "odd{x}.tar")
    assert expand_shards("::".join(at("b.tar", "a-*.tar", "b.tar")))[:2] == at("b.tar", "a-000.tar")
    for wrong in ("a-{000..003}.tar", "nothing-*.tar", "missing.tar"):
        with pytest.raises(FileNotFoundError, match="no such shard"):
            expand_shards(str(tmp_path / wrong))


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_hostile_members_are_left_out_and_counted(tmp_path):
    path = write_tar(
        tmp_path / "h.tar",
        [
            ("/etc/1.jpg", b"x"),
            ("../2.jpg", b"x"),
            ("a/../../3.jpg", b"x"),
            link("4.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            link("5.jpg", tarfile.LNKTYPE, "6.jpg"),
            link("6", tarfile.DIRTYPE, ""),
            link("7.jpg", tarfile.FIFOTYPE, ""),
            link("8.jpg", tarfile.CHRTYPE, ""),
            ("good.jpg", b"g"),
            ("good.txt", b"t"),
            ("good.jpg", b"again"),
            ("./dot.jpg", b"d"),
        ],
    )
    index = TarIndex(path)
    assert [index.key(i) for i in range(len(index))] == ["good", "dot"]
    assert index.read(0, "jpg") == b"g"
    assert index.report.counts == {
        "tar member with an unsafe name": 3,
        "tar member that is no plain file": 4,
        "duplicate key": 1,
    }


def test_cut_and_damaged_archives_keep_what_is_whole(tmp_path):
    members = [(f"{i}.jpg", bytes([i]) * 3000) for i in range(6)]
    data = open(write_tar(tmp_path / "whole.tar", members), "rb").read()
    stride = 512 + 3072
    for cut, whole in [(stride * 4 + 100, 4), (stride * 4 + 512 + 2999, 4), (stride * 5, 5)]:
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        index = TarIndex(str(tmp_path / "cut.tar"))
        assert len(index) == whole and index.report.counts == {"damaged or truncated tar": 1}, cut
        assert index.read(whole - 1, "jpg") == bytes([whole - 1]) * 3000
    damaged = bytearray(data)
    damaged[stride * 2 + 10] ^= 0xFF
    (tmp_path / "damaged.tar").write_bytes(damaged)
    index = TarIndex(str(tmp_path / "damaged.tar"))
    assert len(index) == 2 and index.report.counts == {"damaged or truncated tar": 1}


def test_files_that_are_no_tar(tmp_path):
    for name, content in (
        ("empty.tar", b""),
        ("text.tar", b"hello " * 1000),
        ("zip.tar", b"\x1f\x8b" + os.urandom(2000)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: not an .*tar"):
            TarIndex(str(tmp_path / name))
    with pytest.raises(ValueError, match="without a single sample"):
        TarIndex(write_tar(tmp_path / "none.tar", []))


def test_a_shard_that_shrinks_after_the_scan(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b"x" * 5000)])
    index = TarIndex(path)
    os.truncate(path, 2000)
    with pytest.raises(OSError, match="5000 bytes expected"):
        index.read(0, "jpg")


def test_cache_serves_and_notices_change_and_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_index, "_CACHED_FROM", 0)
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.jpg", b"y"), ("2.txt", b"z")])
    first = TarIndex(path)
    monkeypatch.setattr(tar_index, "_scan", lambda path: pytest.fail("scanned again"))
    second = TarIndex(path)
    assert [second.members(i) for i in range(2)] == [first.members(i) for i in range(2)]
    assert second.report.counts == first.report.counts == {"duplicate key": 1}
    monkeypatch.undo()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tar_index, "_CACHED_FROM", 0)
    (entry,) = (tmp_path / "cache/lightclip_ms/tar_index").iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    assert len(TarIndex(path)) == 2
    write_tar(path, [("1.jpg", b"x" * 9000)])
    assert TarIndex(path).read(0, "jpg") == b"x" * 9000
