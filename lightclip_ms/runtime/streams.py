"""Standard output and error that cannot fail a program: closed pipes, full disks, characters the terminal lacks."""

import io
import os
import sys


class _Output(io.RawIOBase):
    """Writes to a descriptor; after the first failure it writes nothing more, so that nothing fails again at exit.

    Args:
        descriptor: 1 or 2.
        strict: raise when the file behind the descriptor cannot be written (a reader that has left is never an error).
    """

    def __init__(self, descriptor: int, strict: bool):
        self._descriptor, self._strict, self._broken = descriptor, strict, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data) -> int:
        if self._broken:
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            self._broken = True
            if self._strict and not isinstance(error, BrokenPipeError):
                raise OSError(
                    f"{_target(self._descriptor)}: could not be written: {error.strerror or error}"
                ) from error
            return len(data)


def _target(descriptor: int) -> str:
    """The file behind a descriptor."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # no /proc
        return "standard output"


def protect_streams() -> None:
    """Make `print` safe for the rest of the process.

    * `| head`: what follows is dropped in silence, and the work is done to its end.
    * a full disk behind `> file`: OSError that names the file, once.
    * characters that the terminal's encoding lacks, and bytes of file names that are not UTF-8: printed as escapes.
    * descriptors 0 to 2 that were closed (`>&-`) lead to /dev/null: else the next file opened would be the output.

    A stream that somebody else has put in place (a notebook, a test) stays.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this descriptor
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    for name, descriptor, strict in (("stdout", 1, True), ("stderr", 2, False)):
        old = getattr(sys, name)  # None if the descriptor was closed
        if old is not getattr(sys, f"__{name}__") or isinstance(getattr(old, "buffer", None), _Buffer):
            continue
        if old is not None:
            old.flush()
        raw = _Output(descriptor, strict)
        lines, encoding = raw.isatty() or name == "stderr", "utf-8" if old is None else old.encoding
        setattr(sys, name, io.TextIOWrapper(_Buffer(raw), encoding, "backslashreplace", line_buffering=lines))
        setattr(sys, f"__{name}__", getattr(sys, name))


class _Buffer(io.BufferedWriter):
    """Marks a protected stream."""
