"""One folder, one run: who holds it is named, a dead holder frees it, several machines join by the job's name."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from lightclip_ms.runtime import folder_lock
from tests import ROOT


def start(code: str, **variables: str) -> subprocess.Popen:
    """Another process that runs `code` and prints "ready" when it has come as far as it wants."""
    code = "from lightclip_ms.runtime import folder_lock\nimport os, sys, time\n" + textwrap.dedent(code)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ)


@pytest.fixture
def holder(tmp_path):
    process = start(f"folder_lock.take({str(tmp_path)!r}, 'first'); print('ready', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_by_the_name_of_the_first(tmp_path, holder):
    before = (tmp_path / folder_lock.NAME).read_bytes()
    with pytest.raises(
        OSError, match=rf"in use by process {holder.pid} on .* since .*\(-c\); wait for it, stop it, or"
    ):
        folder_lock.take(tmp_path, "second")
    assert (tmp_path / folder_lock.NAME).read_bytes() == before


def test_a_killed_holder_frees_the_folder_and_release_leaves_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    lock = folder_lock.take(tmp_path, "second")
    assert folder_lock.take(tmp_path, "third") is lock  # the same process resumes its own run
    lock.release()
    lock.release()
    assert os.listdir(tmp_path) == []


def test_a_folder_made_for_a_refused_run_goes_again(tmp_path):
    folder_lock.take(tmp_path / "new", "job").release()
    assert os.listdir(tmp_path) == []
    lock = folder_lock.take(tmp_path / "new", "job")
    (tmp_path / "new/file").touch()
    lock.release()
    assert os.listdir(tmp_path / "new") == ["file"]


def test_workers_of_a_dead_launcher_hold_the_folder_until_they_end(tmp_path, holder):
    worker = start(f"folder_lock.join({str(tmp_path)!r}, 'first'); print('ready', flush=True); time.sleep(3)")
    assert worker.stdout.readline() == "ready\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    said, began = [], time.monotonic()
    lock = folder_lock.take(tmp_path, "second", say=said.append)
    assert time.monotonic() - began > 1 and worker.wait() == 0
    assert len(said) == 1 and f"waiting for the last processes of process {holder.pid}" in said[0]
    lock.release()


def test_other_machines_wait_for_node_0_and_join_its_job_only(tmp_path):
    joining = start(f"folder_lock.join({str(tmp_path)!r}, 'ours'); print('ready', flush=True)")
    time.sleep(0.5)
    lock = folder_lock.take(tmp_path, "ours")
    assert joining.communicate(timeout=20)[0].endswith("ready\n") and joining.returncode == 0
    joined = start(f"folder_lock.join({str(tmp_path)!r}, 'theirs')")
    assert joined.wait(20) == 1
    lock.release()


def test_a_second_start_of_another_machine_is_refused(tmp_path):
    name = folder_lock.name_of_node(1)
    first = start(f"folder_lock.take({str(tmp_path)!r}, 'ours', {name!r}); print('ready', flush=True); time.sleep(60)")
    assert first.stdout.readline() == "ready\n"
    with pytest.raises(OSError, match="in use by process"):
        folder_lock.take(tmp_path, "ours", name)
    first.kill()
    first.wait()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "flock", unsupported)
    said = []
    lock = folder_lock.take(tmp_path, "job", say=said.append)
    assert len(said) == 1 and "this file system has no locks (No locks available)" in said[0]
    worker = folder_lock._open(tmp_path / folder_lock.NAME, 0)
    assert folder_lock._holder(worker)["job"] == "job"
    os.close(worker)
    lock.release()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 10_000, b'{"process": []}', b"\xff"])
def test_a_lock_file_with_anything_in_it_is_taken(tmp_path, content):
    (tmp_path / folder_lock.NAME).write_bytes(content)
    folder_lock.take(tmp_path, "job").release()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/run: could not be made: Not a directory"):
        folder_lock.take(tmp_path / "file/run", "job")
    (tmp_path / folder_lock.NAME).mkdir()
    with pytest.raises(OSError, match="run.lock: could not be written: Is a directory"):
        folder_lock.take(tmp_path, "job")
