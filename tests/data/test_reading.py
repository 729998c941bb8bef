"""Errors that may pass: retried, then the run stops; a record is bad only for what is wrong with it."""

import errno
import os
import subprocess
import sys

import pytest

from lightclip_ms.data import reading, threads
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.reading import ReadFailed, read_image, read_span
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.threads import Threads
from tests import ROOT
from tests.data.data_files import write_table, write_tar


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(reading.time, "sleep", lambda seconds: None)


def failing(function, number: int, times: int):
    """`function`, whose first `times` calls fail."""
    calls = iter(range(times))

    def call(*args, **options):
        if next(calls, None) is not None:
            raise MemoryError if number == errno.ENOMEM else OSError(number, os.strerror(number))
        return function(*args, **options)

    return call


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM])
def test_an_error_that_passes_changes_nothing_and_one_that_stays_stops_the_run(tmp_path, monkeypatch, number):
    shard = write_tar(tmp_path / "a.tar", [("1.jpg", b"picture"), ("1.txt", b"text")])
    table = write_table(tmp_path / "t.csv", [["filepath", "title"], ["1.jpg", "text"]])
    (tmp_path / "1.jpg").write_bytes(b"picture")
    for source, name in ((open_pairs(shard), "pread"), (open_pairs(table), "stat")):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(getattr(os, name), number, 3))
            assert source.read(0) == (b"picture", "text")
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(getattr(os, name), number, 99))
            with pytest.raises(ReadFailed, match=f"{os.strerror(number)} in 5 attempts") as error:
                source.read(0)
            assert str(tmp_path) in str(error.value) and not isinstance(error.value, BadRecord)


def test_what_is_wrong_with_the_file_is_a_bad_record(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "plain").touch()
    for name, reason in (
        ("loop.jpg", "unreadable"),
        ("dangling.jpg", "missing image file"),
        ("plain/x.jpg", "unreadable"),
        ("x" * 300, "unreadable"),
        (".", "image path is no file"),
    ):
        with pytest.raises(BadRecord) as error:
            read_image(tmp_path / name)
        assert error.value.reason == reason, name


def test_a_shard_that_is_gone_stops_the_run(tmp_path):
    source = open_pairs(write_tar(tmp_path / "a.tar", [("1.jpg", b"picture"), ("1.txt", b"text")]))
    os.remove(tmp_path / "a.tar")
    with pytest.raises(ReadFailed, match="a.tar: No such file"):
        source.read(0)


def test_no_memory_is_set_aside_for_a_size_beyond_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    for offset, size in ((0, 1 << 60), (2, 5), (-1, 2), (0, -1)):
        with pytest.raises(OSError, match="bytes expected"):
            read_span(str(tmp_path / "a"), offset, size)


def test_sixty_four_descriptors_are_enough_for_eighty_shards(tmp_path):
    for number in range(80):
        write_tar(tmp_path / f"{number:02d}.tar", [("1.jpg", b"picture"), ("1.txt", b"text %d" % number)])
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from lightclip_ms.data.pairs import open_pairs
source = open_pairs({str(tmp_path)!r})
hold = [open("/dev/null") for _ in range(40)]
assert [source.read(i).caption for i in range(80)] * 2 == [source.read(i % 80).caption for i in range(160)]
assert not source.report.counts
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_a_read_that_stalls_ends_the_wait_and_the_process(monkeypatch):
    code = """
import threading
from lightclip_ms.data import threads
from lightclip_ms.runtime.exits import main_guard
threads.LOOK_SECONDS, threads.STALLED_LOOKS = 0.05, 3
@main_guard
def main():
    with threads.Threads(2) as pool:
        assert pool.results([pool.submit(pow, 2, 3)], "data") == [8]
        pool.results([pool.submit(threading.Event().wait)], "shards/*.tar")
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert done.returncode == 2 and "error: shards/*.tar: no data for" in done.stderr and "Trace" not in done.stderr


def test_threads_raise_what_was_raised_and_drop_what_is_left(monkeypatch):
    monkeypatch.setattr(threads, "LOOK_SECONDS", 10)
    with pytest.raises(ZeroDivisionError), Threads(1) as pool:
        pool.results([pool.submit(divmod, 1, 0), pool.submit(divmod, 1, 1)], "x")
