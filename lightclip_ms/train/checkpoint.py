"""The checkpoints of a run: which are there, which is the newest good one, which may go."""

import os
import re
from pathlib import Path

import numpy as np

from lightclip_ms.model.weights import read_checkpoint, write_checkpoint

_NAME = re.compile(r"step_(\d{9})\.safetensors")


class CheckpointFolder:
    """The checkpoints of one run, `step_000000123.safetensors`; the last `keep` stay.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3):
        self.folder = Path(folder)
        self.keep = keep

    def paths(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("*.safetensors") if _NAME.fullmatch(path.name))

    def write(self, global_step: int, arrays: dict[str, np.ndarray], header: dict) -> Path:
        """Write one checkpoint, then remove those beyond the last `keep` and what a killed run left aside."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{global_step:09d}.safetensors"
        write_checkpoint(path, arrays, header)
        for old in self.paths()[: -self.keep]:
            old.unlink()
        for aside in self.folder.glob(".*.tmp"):
            aside.unlink()
        return path

    def latest(self, warn=print) -> tuple[Path, dict[str, np.ndarray], dict] | None:
        """The newest checkpoint that is whole; `warn` is told of each damaged one that is passed over."""
        for path in reversed(self.paths()):
            try:
                return (path, *read_checkpoint(path))
            except ValueError as error:
                warn(f"passed over: {error}")
        return None
