"""What a run leaves behind: configuration, versions, metrics, checkpoints.

Only rank 0 writes; on other ranks every method does nothing.
"""

import json
import math
from pathlib import Path

import yaml

from lightclip_ms.config.file import to_dict
from lightclip_ms.config.loss import active
from lightclip_ms.config.schema import Config
from lightclip_ms.runtime.files import append_text, read_json_lines, write_json, write_text
from lightclip_ms.runtime.versions import versions
from lightclip_ms.train.checkpoint import CheckpointFolder
from lightclip_ms.train.event_file import EventFile


class RunFolder:
    """A run's configuration, versions, metrics, plot, checkpoints and messages; docs/training.md lists the files.

    Nothing is written before `open_metrics`: until then the run may still be refused, and the folder belongs to an
    earlier one.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str, config: Config, rank: int):
        self.path = Path(folder)
        self.is_writer = rank == 0
        self._config = config
        self.checkpoints = CheckpointFolder(self.path / "checkpoints", config.train.keep)
        self._config = config
        self._board = None
        self._unsaid = ""  # lines for train.log until that may be written

    def open_metrics(self, global_step: int) -> None:
        """Begin, or resume the logs after `global_step` steps; lines of later steps belong to work that was lost."""
        if not self.is_writer:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", yaml.safe_dump(to_dict(self._config), sort_keys=False))
        write_json(self.path / "versions.json", versions())
        for name in ("metrics.jsonl", "evaluations.jsonl"):
            kept = [record for record in read_json_lines(self.path / name) if _step(record) <= global_step]
            write_text(self.path / name, "".join(json.dumps(record) + "\n" for record in kept))
        self._board = EventFile(self.path / "tensorboard", global_step + 1)
        append_text(self.path / "train.log", self._unsaid)

    def log(self, records: list[dict]) -> None:
        """Append training metrics, one JSON object a line, each with its `step`."""
        self._log("metrics.jsonl", "train", records)

    def log_evaluation(self, record: dict) -> None:
        """Append one evaluation."""
        self._log("evaluations.jsonl", "evaluation", [record])

    def _log(self, name: str, board: str, records: list[dict]) -> None:
        if not self.is_writer:
            return
        append_text(self.path / name, "".join(json.dumps(_finite(record)) + "\n" for record in records))
        self._board.add(board, records)

    def has_evaluation(self, global_step: int) -> bool:
        """Whether an evaluation after `global_step` steps was logged."""
        return any(_step(record) == global_step for record in read_json_lines(self.path / "evaluations.jsonl"))

    def is_best(self, metric: str, value: float) -> bool:
        """Whether no logged evaluation has a larger `metric`; False on ranks that do not write."""
        logged = read_json_lines(self.path / "evaluations.jsonl")
        return self.is_writer and all(value >= record.get(metric, value) for record in logged)

    def draw_curves(self) -> None:
        """`loss_curves.png` of all steps so far."""
        if not self.is_writer:
            return
        from lightclip_ms.figures import curves, png  # Matplotlib is slow to load, and other ranks need none

        records = read_json_lines(self.path / "metrics.jsonl")
        if records:  # a finished run that resumes after its log was deleted has nothing to draw
            png.save_figure(curves.loss_curves(records, active(self._config.loss)), self.path / "loss_curves.png")

    def say(self, text: str) -> None:
        """One line on the screen and in `train.log`, from rank 0."""
        if not self.is_writer:
            return
        print(text, flush=True)
        if self._board is None:
            self._unsaid += text + "\n"
        else:
            append_text(self.path / "train.log", text + "\n")


def _step(record: dict) -> float:
    """A record's step; a line that somebody has edited is as good as lost."""
    step = record.get("step")
    return step if isinstance(step, int) else math.inf


def _finite(record: dict) -> dict:
    """JSON has no infinity: an overflow's gradient norm becomes null."""
    return {key: value if math.isfinite(value) else None for key, value in record.items()}
