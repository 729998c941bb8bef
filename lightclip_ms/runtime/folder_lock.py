"""One folder, one run: an advisory lock on output_dir that names its holder.

`run.lock` is there while a run works in the folder. Its launcher takes an exclusive `flock`, writes who it is, and
keeps a shared one; processes of the same job add shared ones of their own. So the folder is taken as long as any of
them lives, and a killed run frees it without cleaning up.
"""

import atexit
import contextlib
import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import time
import uuid
from pathlib import Path

from lightclip_ms.runtime.lifeline import identity, is_alive

NAME = "run.lock"
JOB = "LIGHTCLIP_JOB"  # set by the launcher for its workers: the job that holds the lock
JOIN_SECONDS = 600  # how long another machine waits for node 0 to take the lock; as msrun's cluster_time_out
ENDING_SECONDS = 90  # how long the processes of a run whose launcher is dead may take to end
_PATIENCE_SECONDS = 1.0  # somebody else may be looking at the lock
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_mine: dict[
    Path, "FolderLock"
] = {}  # by lock file; a process may open its own run again, for instance to resume it in a notebook


class FolderLock:
    """A lock this process takes part in; `release` gives it up, and so does the end of the process."""

    def __init__(self, path: Path, file: int, made_folder: bool = False):
        self.path = path
        self._file, self._made_folder, self._owner = file, made_folder, os.getpid()
        _mine[path] = self
        atexit.register(self.release)

    def release(self) -> None:
        """Give up this process's part; the last one removes the file, and an empty folder that was made for it."""
        if _mine.get(self.path) is not self or self._owner != os.getpid():  # released, or a fork's copy
            return
        del _mine[self.path]
        with contextlib.suppress(OSError):
            if _locks(self._file):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path.unlink()
            if self._made_folder:
                self.path.parent.rmdir()
        os.close(self._file)


def name_of_node(node: int) -> str:
    """The lock file that the launcher of a machine takes: node 0's is the run's."""
    return f"run-{node}.lock" if node else NAME


def take(folder: str | os.PathLike, job: str, name: str = NAME, say=print) -> FolderLock:
    """Start `job` in a folder, which is made if there is none: nobody else may hold its lock.

    `say` gets a line if the file system has no locks, or while a killed run's last processes end.

    Raises:
        OSError: another run holds it (the message names it), or the folder cannot be written.
    """
    made_folder = not os.path.isdir(folder)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder}: could not be made: {error.strerror or error}") from error
    path = Path(folder).resolve() / name
    if path in _mine:
        return _mine[path]
    began, told = time.monotonic(), False
    while True:
        file = _open(path, os.O_CREAT)
        try:
            if _take_exclusively(file, path, job):
                return FolderLock(path, file, made_folder)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                say(
                    f"warning: {folder}: this file system has no locks ({error.strerror}): "
                    "take care that no other run uses the folder"
                )
                _describe(file, job)
                return FolderLock(path, file, made_folder)
            holder = _holder(file)
            os.close(file)
            if error.errno not in _HELD:
                raise OSError(f"{path}: could not be written: {error.strerror or error}") from error
        else:
            os.close(file)  # the last holder removed it meanwhile
            continue
        elapsed = time.monotonic() - began
        if _is_ending(holder) and elapsed < ENDING_SECONDS:
            if not told:
                say(f"{folder}: waiting for the last processes of {_name(holder)} to end: its launcher is gone")
            told = True
        elif elapsed > _PATIENCE_SECONDS:
            raise OSError(f"{folder}: in use by {_name(holder)}; wait for it, stop it, or choose another output_dir")
        time.sleep(0.1)


def join(folder: str | os.PathLike, job: str, say=print) -> FolderLock:
    """Take part in the lock that the launcher of node 0 takes for `job`; waits for it.

    Raises:
        OSError: another run holds the folder, or node 0 does not come.
    """
    path = Path(folder).resolve() / NAME
    if path in _mine:
        return _mine[path]
    began, told = time.monotonic(), False
    while True:
        with contextlib.suppress(FileNotFoundError):
            file = _open(path, 0)
            holder, is_held = _holder(file), not _locks(file) or _is_held(file)
            if is_held and holder.get("job") == job and _share(file, path):
                return FolderLock(path, file)
            os.close(file)
            if is_held and holder.get("job") != job and time.monotonic() - began > _PATIENCE_SECONDS:
                raise OSError(f"{folder}: in use by {_name(holder)}; stop it, or choose another output_dir")
        if time.monotonic() - began > JOIN_SECONDS:
            raise OSError(f"{folder}: node 0 did not start job {job} here; output_dir must be shared by all machines")
        if not told and time.monotonic() - began > _PATIENCE_SECONDS:
            say(f"{folder}: waiting for node 0 to start job {job}")
            told = True
        time.sleep(0.2)


def enter(folder: str | os.PathLike, rank: int) -> FolderLock | None:
    """The lock of a training process: its launcher's, or one of its own on rank 0 of a job without our launcher.

    Raises:
        OSError: see `take` and `join`.
    """
    if JOB in os.environ:
        return join(folder, os.environ[JOB])
    return take(folder, uuid.uuid4().hex) if rank == 0 else None


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o644)  # for writing: NFS grants no exclusive lock else
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"{path}: could not be written: {error.strerror or error}") from error


def _take_exclusively(file: int, path: Path, job: str) -> bool:
    """Write who this is under an exclusive lock, then keep a shared one; False if `file` is no longer at `path`."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not _is_current(file, path):
        return False
    _describe(file, job)
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return True


def _share(file: int, path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return _is_current(file, path)


def _locks(file: int) -> bool:
    """Whether the file system has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_UN)
    except OSError as error:
        return error.errno not in _UNSUPPORTED
    return True


def _is_held(file: int) -> bool:
    """Whether another open file holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _is_current(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _describe(file: int, job: str) -> None:
    holder = {
        "job": job,
        "process": identity(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(sys.argv),
    }
    os.ftruncate(file, 0)
    os.pwrite(file, (json.dumps(holder) + "\n").encode(), 0)
    os.fsync(file)


def _holder(file: int) -> dict:
    """Who wrote the lock file; empty if it is not written yet."""
    try:
        holder = json.loads(os.pread(file, 1 << 16, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_ending(holder: dict) -> bool:
    """Whether the process that took the lock is dead, so that only its last workers hold it."""
    return holder.get("host") == socket.gethostname() and not is_alive(str(holder.get("process")))


def _name(holder: dict) -> str:
    if not holder:
        return "another run"
    pid = str(holder.get("process")).partition(":")[0]
    return f"process {pid} on {holder.get('host')} since {holder.get('since')} ({holder.get('command')})"
