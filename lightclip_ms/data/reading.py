"""Reads that tell a bad file from a bad moment.

Too many open files, an I/O error, a stale mount or a lack of memory say nothing about the record. Taking such a record
for a bad one and replacing it would silently change the run, so the read is retried, and then fails with `ReadFailed`,
which nothing in this room catches: the run stops with one line and resumes where it was.
"""

import collections
import errno
import os
import resource
import stat
import threading
import time

from lightclip_ms.data.skipped import BadRecord

MAX_IMAGE_BYTES = 256 << 20  # of one picture file; anything larger is no photograph
_WAITS = (0.1, 0.5, 2.0, 5.0)  # seconds before the second to fifth attempt
_OF_THE_FILE = {  # what no second attempt would change
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.ENXIO,
    errno.ENODEV,
    errno.EINVAL,
}
_MOST_OPEN = 128  # shards that stay open


class ReadFailed(OSError):
    """A read that failed repeatedly for a reason outside of the record."""


def retried(path, read, of_the_file=frozenset(_OF_THE_FILE)):
    """`read()`, tried again after errors that may pass.

    Args:
        path: names the file in the message.
        of_the_file: error numbers that are raised at once, as they are.

    Raises:
        ReadFailed: all attempts failed.
    """
    for wait in (*_WAITS, None):
        try:
            return read()
        except MemoryError:
            reason = os.strerror(errno.ENOMEM)
        except ReadFailed:
            raise
        except OSError as error:
            if error.errno is None or error.errno in of_the_file:
                raise
            reason = os.strerror(error.errno)
        _SHARDS.close()  # frees descriptors, and a stale one is opened anew
        if wait is not None:
            time.sleep(wait)
    raise ReadFailed(
        f"{path}: {reason} in {len(_WAITS) + 1} attempts over {sum(_WAITS):.0f} s: the file system or the machine "
        "fails, not this record; start again when it is mended"
    )


def require_regular(path: str) -> None:
    """Raises FileNotFoundError, or ValueError for a folder, pipe, socket or device: those could block for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: not a regular file")


def read_image(path) -> bytes:
    """Content of a picture file. Raises BadRecord if there is none of sane size, ReadFailed as `retried`."""

    def read() -> bytes:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or device could block for ever
            raise BadRecord("image path is no file")
        if status.st_size > MAX_IMAGE_BYTES:
            raise BadRecord("image file too large", f"{status.st_size} bytes")
        with open(path, "rb") as file:
            return file.read(MAX_IMAGE_BYTES)

    try:
        return retried(path, read)
    except FileNotFoundError:
        raise BadRecord("missing image file") from None
    except ReadFailed:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, BadRecord):
            raise
        raise BadRecord("unreadable", str(error)) from None


class _Descriptor:
    """A descriptor that closes when the last reader lets go of it, so that eviction never pulls it from a thread."""

    def __init__(self, path: str):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "number"):
            os.close(self.number)


class _OpenShards:
    """The most recently used shards, open; at most a quarter of the descriptors that the process may have."""

    def __init__(self):
        self._open = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> _Descriptor:
        with self._lock:
            if path in self._open:
                self._open.move_to_end(path)
                return self._open[path]
        found = _Descriptor(path)
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = _MOST_OPEN if allowed < 0 else min(_MOST_OPEN, max(4, allowed // 4))
        with self._lock:
            self._open[path] = found
            while len(self._open) > most:
                self._open.popitem(last=False)
        return found

    def close(self) -> None:
        with self._lock:
            self._open.clear()


_SHARDS = _OpenShards()


def read_span(path: str, offset: int, size: int) -> bytes:
    """`size` bytes of a shard at `offset`; safe from any thread.

    Raises:
        OSError: the shard is shorter than that. ReadFailed: as `retried`; also if the shard is gone, since it was
        there when its index was built.
    """

    def read() -> bytes:
        shard = _SHARDS.get(path)
        length = os.fstat(shard.number).st_size  # pread would first set aside memory of any size
        if not 0 <= offset <= offset + size <= length:
            raise OSError(f"{path}: {size} bytes expected at {offset}, found {max(0, length - max(offset, 0))}")
        data = os.pread(shard.number, size, offset)
        if len(data) != size:
            raise OSError(f"{path}: {size} bytes expected at {offset}, found {len(data)}")
        return data

    return retried(path, read, of_the_file=frozenset())
