"""The checkpoints of a run: which are there, which is the newest good one, which may go."""

import os
import re
from pathlib import Path

import numpy as np

from lightclip_ms.model.weights import read_checkpoint, read_header, write_checkpoint

_NAME = re.compile(r"step_(\d{9})\.safetensors")


class CheckpointFolder:
    """The checkpoints of one run, `step_000000123.safetensors`; the last `keep` stay.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3):
        self.folder = Path(folder)
        self.keep = keep
        self._damaged: list[Path] = []  # found by `latest`, moved aside by the next `write`

    def paths(self) -> list[Path]:
        """Checkpoints, oldest first, by their names alone."""
        return sorted(path for path in self.folder.glob("*.safetensors") if _NAME.fullmatch(path.name))

    def write(self, global_step: int, arrays: dict[str, np.ndarray], header: dict) -> Path:
        """Write one checkpoint, then remove those beyond the last `keep` and what a killed run left aside.

        The new one always stays, and so does the newest good one; damaged ones are renamed to `NAME.damaged`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{global_step:09d}.safetensors"
        # Steps beyond this one are of a run that was lost: their files are damaged, or another program put them here.
        later = [other for other in self.paths() if other.name > path.name and not _is_whole(other)]
        for damaged in {*self._damaged, *later, *([path] if path.is_dir() else [])}:
            _move_aside(damaged)
        self._damaged.clear()
        write_checkpoint(path, arrays, header)
        kept = self.paths()
        kept = {path, kept[-1], *[other for other in kept if other != path][len(kept) - self.keep :]}
        for old in set(self.paths()) - kept:
            old.unlink(missing_ok=True)
        for aside in self.folder.glob(".*.tmp"):
            aside.unlink(missing_ok=True)
        return path

    def latest(self, warn=print, check=lambda header: None) -> tuple[Path, dict[str, np.ndarray], dict] | None:
        """The newest checkpoint that can be used; `warn` gets a line for each one that is skipped.

        Args:
            check: raises ValueError for a header that lacks what the caller needs.

        Raises:
            OSError: a file is there and cannot be read: an earlier one would silently repeat work.
        """
        self._damaged.clear()
        for path in reversed(self.paths()):
            try:
                arrays, header = read_checkpoint(path)
                _check(header, check, path)
                return path, arrays, header
            except (ValueError, FileNotFoundError) as error:
                warn(f"skipped: {error}")
                self._damaged.append(path)
        return None


def _check(header: dict, check, path: Path) -> None:
    try:
        check(header)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _is_whole(path: Path) -> bool:
    try:
        read_header(path)
    except (ValueError, OSError):
        return False
    return True


def _move_aside(path: Path) -> None:
    """Rename to the first free of `NAME.damaged`, `NAME.damaged-1`, ..."""
    if not os.path.lexists(path):
        return
    target, number = path.with_name(f"{path.name}.damaged"), 0
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.damaged-{number}")
    os.rename(path, target)
