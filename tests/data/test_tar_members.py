"""Tar headers that nobody should trust: the archive ends there, with one line that names file and member."""

import resource
import tarfile

import pytest

from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.data.tar_index import TarIndex
from lightclip_ms.data.tar_members import CUT, tar_members
from lightclip_ms.eval.sets.captioned import open_captions
from tests.data.data_files import write_tar
from tests.fuzz.make_tars import header, member, pax

WHOLE = member(b"0.jpg", b"picture") + member(b"0.txt", b"fine")
LAST = member(b"9.jpg", b"picture") + member(b"9.txt", b"last") + bytes(1024)
BITS = b"\0" * 41 + b"00000000000\x0000000000000\0" * 4 + b"\1"  # a sparse map that goes on in the next block
HOSTILE = {
    "negative size": header(b"1.jpg", -512),
    "size of 2^62": header(b"1.jpg", 2**62),
    "size of 2^80": header(b"1.jpg", 2**80),
    "octal with a sign": header(b"1.jpg", b"-0000001000"),
    "octal with an underscore": header(b"1.jpg", b"1_000"),
    "long name of a terabyte": header(b"././@LongLink", 2**40, b"L") + b"n" * 512 + header(b"1.jpg", 0),
    "long link of a terabyte": header(b"././@LongLink", 2**40, b"K") + b"n" * 512 + header(b"1.jpg", 0),
    "negative long name": header(b"././@LongLink", -1, b"L") + header(b"1.jpg", 0),
    "pax header of a terabyte": header(b"PaxHeaders/1.jpg", 2**40, b"x") + header(b"1.jpg", 0),
    "pax size of 200,000 digits": pax((b"size", b"9" * 200_000)) + header(b"1.jpg", 0),
    "pax size that is negative": pax((b"size", b"-5")) + header(b"1.jpg", 0),
    "pax size of a terabyte": pax((b"size", b"%d" % 2**40)) + header(b"1.jpg", 0),
    "pax record of 200,000 digits": member(b"PaxHeaders/1.jpg", b"9" * 200_000 + b" path=x\n", b"x"),
    "pax record of no length": member(b"PaxHeaders/1.jpg", b"0 path=x\n", b"x"),
    "global pax size": pax((b"size", b"%d" % 2**50), kind=b"g") + header(b"1.jpg", 0),
    "sparse map without an end": member(b"1.jpg", b"\1" * 512 * 2000, b"S", rest=BITS),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_ends_the_archive(tmp_path, name):
    path = tmp_path / "a.tar"
    path.write_bytes(WHOLE + HOSTILE[name] + LAST)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = open_pairs(str(path))
    assert len(source) == 1 and source.read(0) == (b"picture", "fine")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert source.report.counts == {CUT: 1}
    (line,) = source.report.examples[CUT]
    assert line.startswith(f"{path}: readable up to byte ") and "\n" not in line and len(line) < 500
    assert any(word in line for word in ("1.jpg", "LongLink", "PaxHeaders"))
    with pytest.raises(ValueError, match="copy the shard again"):
        open_captions(str(path))


def test_a_sparse_member_is_passed_over(tmp_path):
    sparse = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9" * 18)) + member(b"1.jpg", b"9" * 512)
    old = header(b"2.jpg", 512, b"S", rest=BITS) + b"\0" * 512 + b"x" * 512
    (tmp_path / "a.tar").write_bytes(WHOLE + sparse + old + LAST)
    source = open_pairs(str(tmp_path / "a.tar"))
    assert [source.read(i).caption for i in range(2)] == ["fine", "last"]
    assert source.report.counts == {"tar member that is no plain file": 2}


def test_an_archive_that_begins_badly_is_none(tmp_path):
    for number, data in enumerate((HOSTILE["negative size"], HOSTILE["pax record of no length"])):
        (tmp_path / "a.tar").write_bytes(data + LAST)
        with pytest.raises(ValueError, match="a.tar: 1 shard.s. without a single sample: 1 damaged .* byte 0 "):
            TarIndex(str(tmp_path / "a.tar"))
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(ValueError, match="not a regular file"):
        list(tar_members(str(tmp_path / "folder.tar"), SkipReport()))


def test_members_are_those_that_tarfile_finds(tmp_path):
    names = ["a.jpg", "d" * 99 + "/b.jpg", "ünï/🐶.jpg", "x/" * 60 + "c.jpg", "n" * 150 + ".jpg"]
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        usable = names if format != tarfile.USTAR_FORMAT else [name for name in names if len(name) < 150]
        path = write_tar(tmp_path / "a.tar", [(name, b"x" * place) for place, name in enumerate(usable)], format)
        with tarfile.open(path) as archive:
            expected = [(info.name, info.offset_data, info.size) for info in archive]
        report = SkipReport()
        found = list(tar_members(path, report))
        assert found == expected and not report.counts


def test_what_keys_with_dots_lose_is_counted(tmp_path):
    members = [
        (f"{key}.{ending}", b"text")
        for key in ("v1.0_0001", "v1.0_0002", "0003", "d.x/0004", "0005.seg")
        for ending in ("jpg", "txt")
        if (key, ending) != ("0005.seg", "txt")
    ]
    source = open_pairs(write_tar(tmp_path / "a.tar", members))
    assert len(source) == 2 and source.report.counts == {"key with a dot": 2}
    assert "v1.0_0001 (keys end at the first dot: name it v1_0_0001)" in source.report.examples["key with a dot"][0]
    with pytest.raises(ValueError, match="1 key with a dot.*img.01 .*img_01"):
        open_pairs(write_tar(tmp_path / "b.tar", [("img.01.jpg", b"x"), ("img.01.txt", b"x")]))


def test_more_endings_than_sixteen_bits_count(tmp_path, monkeypatch):
    members = [("0.jpg", b"picture")] + [(f"x.{number}", b"") for number in range(65_536)] + [("0.txt", b"text")]
    (tmp_path / "a.tar").write_bytes(b"".join(member(n.encode(), d) for n, d in members) + bytes(1024))
    assert open_pairs(str(tmp_path / "a.tar")).read(0) == (b"picture", "text")
