"""What a run leaves behind: configuration, versions, metrics, checkpoints.

Only rank 0 writes; on other ranks every method does nothing.
"""
import json
import os
import platform
import subprocess
from pathlib import Path

import mindspore as ms
import numpy as np
import yaml

import lightclip_ms
from lightclip_ms.config import Config, to_dict
from lightclip_ms.train.checkpoint import CheckpointFolder


def versions() -> dict[str, str]:
    """Versions of everything that may change a number, and the source's git revision where there is one."""
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True,
                              check=False).stdout.strip()
    return {"lightclip_ms": lightclip_ms.__version__, "mindspore": ms.__version__, "numpy": np.__version__,
            "python": platform.python_version(), "git": revision or "not a git checkout"}


class RunFolder:
    """`config.yaml`, `versions.json`, `metrics.jsonl`, `checkpoints/` under one folder.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str, config: Config, rank: int):
        self.path = Path(folder)
        self.is_writer = rank == 0
        self.checkpoints = CheckpointFolder(self.path / "checkpoints", config.train.keep)
        self._metrics = None
        if self.is_writer:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_aside("config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
            self._write_aside("versions.json", json.dumps(versions(), indent=2) + "\n")

    def _write_aside(self, name: str, text: str) -> None:
        aside = self.path / f".{name}.tmp"
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, self.path / name)

    def open_metrics(self, global_step: int) -> None:
        """Continue `metrics.jsonl` after `global_step` steps; lines of later steps belong to work that was lost."""
        if not self.is_writer:
            return
        path = self.path / "metrics.jsonl"
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:  # the line a killed run was writing
                    continue
                if record["step"] <= global_step:
                    kept.append(line + "\n")
        self._write_aside("metrics.jsonl", "".join(kept))
        self._metrics = open(path, "a", encoding="utf-8")

    def log(self, records: list[dict]) -> None:
        """Append one JSON object a line."""
        if self._metrics is not None:
            self._metrics.writelines(json.dumps(record) + "\n" for record in records)
            self._metrics.flush()

    def say(self, text: str) -> None:
        """One line on the screen, from rank 0."""
        if self.is_writer:
            print(text, flush=True)
