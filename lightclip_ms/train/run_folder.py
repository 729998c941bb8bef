"""What a run leaves behind: configuration, versions, metrics, checkpoints.

Only rank 0 writes; on other ranks every method does nothing.
"""

import json
import math
from pathlib import Path

import yaml
from tensorboardX import SummaryWriter

from lightclip_ms.config.file import to_dict
from lightclip_ms.config.loss import active
from lightclip_ms.config.schema import Config
from lightclip_ms.runtime.files import append_text, read_json_lines, write_json, write_text
from lightclip_ms.runtime.versions import versions
from lightclip_ms.train.checkpoint import CheckpointFolder


class RunFolder:
    """Configuration, versions, metrics, plot, checkpoints and what the run said, in one folder; docs/training.md lists them.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str, config: Config, rank: int):
        self.path = Path(folder)
        self.is_writer = rank == 0
        self._config = config
        self.checkpoints = CheckpointFolder(self.path / "checkpoints", config.train.keep)
        if self.is_writer:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
            write_json(self.path / "versions.json", versions())

    def open_metrics(self, global_step: int) -> None:
        """Continue the logs after `global_step` steps; lines of later steps belong to work that was lost."""
        if not self.is_writer:
            return
        for name in ("metrics.jsonl", "evaluations.jsonl"):
            kept = [record for record in read_json_lines(self.path / name) if record["step"] <= global_step]
            write_text(self.path / name, "".join(json.dumps(record) + "\n" for record in kept))
        self._board = SummaryWriter(str(self.path / "tensorboard"), purge_step=global_step + 1)

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
        for record in records:
            for key, value in record.items():
                if key != "step":
                    self._board.add_scalar(f"{board}/{key}", value, record["step"])
        self._board.flush()

    def is_best(self, metric: str, value: float) -> bool:
        """Whether no logged evaluation has a larger `metric`; False on ranks that do not write."""
        return self.is_writer and value >= max(
            record.get(metric, value) for record in read_json_lines(self.path / "evaluations.jsonl")
        )

    def draw_curves(self) -> None:
        """`loss_curves.png` of all steps so far."""
        if not self.is_writer:
            return
        from lightclip_ms.figures import curves, png  # Matplotlib is slow to load, and other ranks need none

        records = curves.read_metrics(str(self.path / "metrics.jsonl"))
        png.save_figure(curves.loss_curves(records, active(self._config.loss)), self.path / "loss_curves.png")

    def say(self, text: str) -> None:
        """One line on the screen and in `train.log`, from rank 0."""
        if self.is_writer:
            print(text, flush=True)
            append_text(self.path / "train.log", text + "\n")


def _finite(record: dict) -> dict:
    """JSON has no infinity: an overflow's gradient norm becomes null."""
    return {key: value if math.isfinite(value) else None for key, value in record.items()}
