"""What a run leaves behind: configuration, versions, metrics, checkpoints.

Only rank 0 writes; on other ranks every method does nothing.
"""

import json
import math
import os
import platform
import subprocess
from pathlib import Path

import mindspore as ms
import numpy as np
import yaml
from tensorboardX import SummaryWriter

import lightclip_ms
from lightclip_ms.config import Config
from lightclip_ms.config_file import to_dict
from lightclip_ms.train.checkpoint import CheckpointFolder


def versions() -> dict[str, str]:
    """Versions of everything that may change a number, and the source's git revision where there is one."""
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "lightclip_ms": lightclip_ms.__version__,
        "mindspore": ms.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "git": revision or "not a git checkout",
    }


class RunFolder:
    """Configuration, versions, metrics, plot, checkpoints and what the run said, in one folder; docs/training.md lists them.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str, config: Config, rank: int):
        self.path = Path(folder)
        self.is_writer = rank == 0
        self.checkpoints = CheckpointFolder(self.path / "checkpoints", config.train.keep)
        if self.is_writer:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_aside("config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
            self._write_aside("versions.json", json.dumps(versions(), indent=2) + "\n")

    def _write_aside(self, name: str, text: str) -> None:
        aside = self.path / f".{name}.tmp"
        aside.unlink(missing_ok=True)
        _append(aside, text)
        os.replace(aside, self.path / name)

    def open_metrics(self, global_step: int) -> None:
        """Continue the logs after `global_step` steps; lines of later steps belong to work that was lost."""
        if not self.is_writer:
            return
        for name in ("metrics.jsonl", "evaluations.jsonl"):
            kept = [json.dumps(record) + "\n" for record in self._records(name) if record["step"] <= global_step]
            self._write_aside(name, "".join(kept))
        self._board = SummaryWriter(str(self.path / "tensorboard"), purge_step=global_step + 1)

    def _records(self, name: str) -> list[dict]:
        path = self.path / name
        records = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # the line a killed run was writing
                continue
        return records

    def log(self, records: list[dict]) -> None:
        """Append training metrics, one JSON object a line, each with its `step`."""
        self._log("metrics.jsonl", "train", records)

    def log_evaluation(self, record: dict) -> None:
        """Append one evaluation."""
        self._log("evaluations.jsonl", "evaluation", [record])

    def _log(self, name: str, board: str, records: list[dict]) -> None:
        if not self.is_writer:
            return
        _append(self.path / name, "".join(json.dumps(_finite(record)) + "\n" for record in records))
        for record in records:
            for key, value in record.items():
                if key != "step":
                    self._board.add_scalar(f"{board}/{key}", value, record["step"])
        self._board.flush()

    def is_best(self, metric: str, value: float) -> bool:
        """Whether no logged evaluation has a larger `metric`; False on ranks that do not write."""
        return self.is_writer and value >= max(
            record.get(metric, value) for record in self._records("evaluations.jsonl")
        )

    def draw_curves(self) -> None:
        """`loss_curves.png` of all steps so far."""
        if not self.is_writer:
            return
        from lightclip_ms.eval import figures  # Matplotlib is slow to load, and other ranks need none

        records = figures.read_metrics(str(self.path / "metrics.jsonl"))
        figures.save_figure(figures.loss_curves(records), str(self.path / "loss_curves.png"))

    def say(self, text: str) -> None:
        """One line on the screen and in `train.log`, from rank 0."""
        if self.is_writer:
            print(text, flush=True)
            _append(self.path / "train.log", text + "\n")


def _append(path: Path, text: str) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OSError(f"{path}: could not be written: {error.strerror or error}") from error


def _finite(record: dict) -> dict:
    """JSON has no infinity: an overflow's gradient norm becomes null."""
    return {key: value if math.isfinite(value) else None for key, value in record.items()}
