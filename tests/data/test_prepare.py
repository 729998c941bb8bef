"""Preparation of MindRecord files: what is kept and dropped, resumption, checksums, and the check of a data set."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

from lightclip_ms.data import prepare as prepare_module
from lightclip_ms.data.mindrecord import MindRecordPairs
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.prepare import Settings, Share, prepare, verify
from tests import ROOT
from tests.data.data_files import encode, picture, write_tar

SCRIPT = ROOT / "scripts" / "prepare_data.py"
DROPPED = {
    "undecodable image": 2,
    "image too small": 1,
    "empty caption": 1,
    "empty image file": 1,
    "duplicate key": 1,
    "image without a text": 1,
}


class InProcess:
    """Stands in for the process pool: starting interpreters is not what these tests are about."""

    def __init__(self, workers, context, initializer):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, **options):
        pass


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(prepare_module, "ProcessPoolExecutor", InProcess)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """20 good pairs and one bad one of each kind, in two shards."""
    folder = tmp_path_factory.mktemp("shards")
    bad = [
        ("b0", b"", b"x"),
        ("b1", b"no picture", b"x"),
        ("b2", encode(picture())[:500], b"x"),
        ("b3", encode(picture(0, 5, 5)), b"x"),
        ("b4", encode(picture()), b" \n"),
        ("b5", encode(picture()), None),
    ]
    good = [(f"g{i:02d}", encode(picture(i), quality=80), f"caption {'word ' * i}".encode()) for i in range(20)]
    for number, samples in enumerate((good[:7] + bad[:3], bad[3:] + good[7:])):
        members = [
            (f"{key}.{ending}", data)
            for key, image, text in samples
            for ending, data in (("jpg", image), ("txt", text))
            if data is not None
        ]
        write_tar(folder / f"{number}.tar", members + ([("g19.txt", b"again")] if number else []))
    return str(folder)


def settings(shards, **options):
    return Settings(shards, pairs_per_file=9, **options)


def test_what_is_kept_and_what_is_dropped(shards, tmp_path, in_process):
    seen = []
    manifest = prepare(settings(shards), str(tmp_path / "out"), 2, lambda done, total: seen.append((done, total)))
    assert len(seen) == 4 and seen == sorted(seen) and seen[0] == (0, 25) and seen[-1] == (25, 25)
    assert manifest["pairs"] == 20 and manifest["dropped"] == DROPPED
    assert set(manifest["examples"]) == set(DROPPED) and "0.tar: b1" in manifest["examples"]["undecodable image"][0]
    assert manifest["caption_words"] == {"1-2": 2, "3-5": 3, "6-10": 5, "11-20": 10}
    assert manifest == json.loads((tmp_path / "out/manifest.json").read_text())
    assert sorted(manifest["files"]) == [f"0000{i}.mindrecord{ending}" for i in range(3) for ending in ("", ".db")]
    source = MindRecordPairs(str(tmp_path / "out"))
    original = open_pairs(shards)
    wanted = {original.key(i): original.read(i) for i in range(len(original)) if ": g" in original.key(i)}
    found = {source.key(i).split(": ", 1)[1]: source.read(i) for i in range(len(source))}
    assert len(found) == 20 and found.items() <= wanted.items()
    assert not list((tmp_path / "out").glob("*.partial"))


def test_resuming_writes_only_what_is_missing(shards, tmp_path, in_process, monkeypatch):
    out = tmp_path / "out"
    whole = prepare(settings(shards), str(out), 1, lambda done, total: None)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in ("00001.json", "00001.mindrecord", "00001.mindrecord.db", "manifest.json"):
        (out / name).unlink()
    (out / "00001.partial").mkdir()
    (out / "00001.partial/00001.mindrecord").write_bytes(b"half written")
    written, original = [], prepare_module._write_file
    monkeypatch.setattr(
        prepare_module, "_write_file", lambda *arguments: written.append(arguments[-1].name) or original(*arguments)
    )
    again = prepare(settings(shards), str(out), 1, lambda done, total: None)
    assert written == ["00001"] and again == whole
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".db"} == {
        name: data for name, data in before.items() if not name.endswith(".db")
    }


def test_parts_on_several_machines_fill_one_folder(shards, tmp_path, in_process):
    """In any order, one of them twice; the last to end writes the manifest of a single run."""

    def run(folder, *share):
        return prepare(settings(shards), str(tmp_path / folder), 1, lambda done, total: None, Share(*share))

    def files():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "together").iterdir()}

    whole = run("whole")
    assert run("together", 3, 3) is None
    first = files()
    assert sorted(first) == ["00002.json", "00002.mindrecord", "00002.mindrecord.db"]
    assert run("together", 1, 3) is None and run("together", 3, 3) is None
    merged = run("together", 2, 3)
    assert {name: files()[name] for name in first} == first  # no file is written twice
    for key in whole.keys() - {"files", "examples"}:  # bytes hold the time, examples a memory address
        assert merged[key] == whole[key], key
    assert merged["files"].keys() == whole["files"].keys() and verify(str(tmp_path / "together")) == []
    with pytest.raises(ValueError, match="part 4/3 is not possible: use 1/N to N/N"):
        Share(4, 3)


def test_another_source_or_other_settings_do_not_mix(shards, tmp_path, in_process):
    out = str(tmp_path / "out")
    prepare(settings(shards), out, 1, lambda done, total: None)
    with pytest.raises(ValueError, match="holds files made with min_side 8, not 32"):
        prepare(settings(shards, min_side=32), out, 1, lambda done, total: None)
    with pytest.raises(ValueError, match="holds files made with source .*0.tar"):
        prepare(settings(f"{shards}/0.tar"), str(tmp_path / "other"), 1, lambda done, total: None)
        prepare(settings(f"{shards}/1.tar"), str(tmp_path / "other"), 1, lambda done, total: None)


def test_nothing_usable(tmp_path, in_process):
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.txt", b"x")])
    with pytest.raises(ValueError, match="not one usable pair; dropped: .*undecodable image.*1"):
        prepare(settings(path), str(tmp_path / "out"), 1, lambda done, total: None)
    with pytest.raises(ValueError, match="must be positive"):
        Settings(path, pairs_per_file=0)


def test_checksums_find_a_flipped_byte(shards, tmp_path, in_process):
    out = tmp_path / "out"
    prepare(settings(shards), str(out), 1, lambda done, total: None)
    assert verify(str(out)) == []
    data = bytearray((out / "00000.mindrecord").read_bytes())
    data[len(data) // 2] ^= 1
    (out / "00000.mindrecord").write_bytes(data)
    (out / "00002.mindrecord.db").unlink()
    assert [problem.rsplit("/", 1)[1] for problem in verify(str(out))] == [
        "00000.mindrecord: not the file that the manifest describes",
        "00002.mindrecord.db: missing",
    ]


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_script_with_real_processes(shards, tmp_path):
    out = tmp_path / "out"
    result = run(shards, out, "--workers", 2, "--pairs-per-file", 13)
    assert result.returncode == 0, result.stderr
    assert (
        "kept 20 pairs" in result.stdout
        and "dropped 2: undecodable image, e.g." in result.stdout
        and "11-20" in result.stdout
    )

    sheet = tmp_path / "sheet.png"
    result = run(out, "--check", "--sheet", sheet, "--image-size", 64)
    assert result.returncode == 0 and "20 pairs, 20 read, 0 bad" in result.stdout, result.stdout + result.stderr
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    assert pixels.shape[1] == 8 * 168 + 8 and (pixels == (178, 34, 34)).all(-1).sum() > 100  # masked texts in red

    result = run(shards, "--check", "--sheet", sheet, "--image-size", 64)
    assert result.returncode == 1 and "25 pairs, 25 read, 5 bad" in result.stdout
    for key, reason in (
        ("0.tar: b1", "undecodable image"),
        ("1.tar: b4", "empty caption"),
        ("0.tar: b0", "empty image file"),
    ):
        assert any(line.strip().startswith(f"{shards}/{key}: {reason}") for line in result.stdout.splitlines()), (
            result.stdout
        )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.tar", "out"], "error: missing.tar"),
        (["missing.csv", "--check"], "error: "),
        (["x.tar"], "name a folder"),
    ],
)
def test_mistakes_end_with_one_line(arguments, message, tmp_path):
    result = run(*[tmp_path / a if "." in a else a for a in arguments])
    assert result.returncode == 2 and message.split("missing")[0] in result.stderr and "Traceback" not in result.stderr
