"""A small training run that is started, killed and started again, as a user would: through the launcher."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lightclip_ms.data.prepare import Settings, prepare
from lightclip_ms.train.checkpoint import CheckpointFolder

ROOT = Path(__file__).parents[1]
PAIRS, BATCH = 192, 8
TINY = (
    "model.image_options={width: 8, depths: [1, 1, 1, 1], last_stride: 1}",
    "model.embed_dim=32",
    "model.vocab_size=600",
    "model.text_width=32",
    "model.text_heads=2",
    "data.val=",
    f"train.batch_size={BATCH}",
    "train.log_every=1",
    "train.save_steps=2",
    "device=cpu",
)


def write_pairs(path: Path) -> Path:
    """PAIRS noise pictures with random words, as one shard."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for index in range(PAIRS):
            picture = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (72, 72, 3), dtype=np.uint8)).save(picture, "JPEG")
            caption = " ".join(rng.choice(["red", "green", "dog", "cat", "tree", "house"], 5)).encode()
            for name, content in ((f"{index:04d}.jpg", picture.getvalue()), (f"{index:04d}.txt", caption)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def everything(shard: Path) -> list[str]:
    """Overrides for a run on MindRecord files, with accumulation and an evaluation after each epoch."""
    folder = shard.with_name("prepared")
    prepare(Settings(str(shard), pairs_per_file=PAIRS // 3), str(folder), 1, lambda done, total: None)
    return [f"data.train={folder}", "data.format=mindrecord", f"data.val={shard}", "train.accumulate=2"]


class Run:
    """One training run, started as often as wanted.

    Args:
        folder: its output_dir; the output of all starts goes to `FOLDER.log`.
        workers: its processes.
        overrides: what differs from configs/demo.yaml and `TINY`: the data and the length.
    """

    def __init__(self, folder: Path, workers: int, overrides: list[str]):
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.checkpoints = CheckpointFolder(folder / "checkpoints")
        script, config = str(ROOT / "scripts/train.py"), str(ROOT / "configs/demo.yaml")
        self._command = [sys.executable, script, "--config", config, "--devices", str(workers)]
        self._command += [*TINY, *overrides, f"output_dir={folder}"]

    def start(self) -> None:
        """Start the launch command; `resumed_at` is the step it resumes from."""
        saved = self.checkpoints.paths()
        self.resumed_at = int(saved[-1].stem.removeprefix("step_")) if saved else 0
        self._old_log, self._old_files = self._log_identity(), self._unfinished()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )

    def finish(self) -> None:
        """Wait for a good end; ValueError if it is another."""
        if self.process.wait():
            raise ValueError(f"{self.folder}: exit code {self.process.returncode}; see {self.log}")

    def kill_at_start(self, seconds: float) -> str:
        """Kill after `seconds`, or once a step was made if that is earlier."""
        self.wait(lambda: self.step() > self.resumed_at, seconds)
        self.kill(self.processes())
        return "training" if self.step() > self.resumed_at else "loading"

    def kill_at(self, step: int, pause: float) -> str:
        """Kill `pause` seconds after `step` was made."""
        self.wait(lambda: self.step() >= step)
        time.sleep(pause)
        self.kill(self.processes())
        return "training"

    def kill_while_saving(self, step: int, latest: int) -> str:
        """Kill when a checkpoint is being written at `step` or later; at `latest` in any case."""
        self.wait(lambda: self.step() >= step)
        processes = self.processes()
        self.wait(lambda: self._unfinished() - self._old_files or self.step() >= latest)
        self.kill(processes)
        return "saving" if self._unfinished() - self._old_files else "training"

    def step(self) -> int:
        """The last step in the log, 0 until this start has opened it."""
        lines = self._lines("metrics.jsonl") if self._log_identity() != self._old_log else []
        return json.loads(lines[-1])["step"] if lines else 0

    def records(self) -> list[dict]:
        """Metrics of every step without those that are times."""
        records = [json.loads(line) for line in self._lines("metrics.jsonl")]
        times = ("images_per_second", "data_wait", "processor_seconds", "eta_seconds", "memory_mb")
        return [{name: value for name, value in record.items() if name not in times} for record in records]

    def evaluations(self) -> list[dict]:
        """Every evaluation so far."""
        return [json.loads(line) for line in self._lines("evaluations.jsonl")]

    def wait(self, condition, seconds: float = math.inf) -> None:
        """Wait for `condition`, at most `seconds`; ValueError if the run ends before it."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ValueError(
                    f"{self.folder}: ended with exit code {self.process.returncode} too early; see {self.log}"
                )
            time.sleep(0.001)

    def processes(self) -> list[int]:
        """Launcher, scheduler, workers and the tail of their logs, by their command lines."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # ended meanwhile
                continue
            logs = (f"{self.folder}/logs/", f"{self.folder}/.logs-")
            if f"output_dir={self.folder}" in words or any(word.startswith(logs) for word in words):
                found.append(int(entry.name))
        return found

    def kill(self, processes: list[int]) -> None:
        """Kill these and whatever of this run is left, at once."""
        while processes:
            for process in processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            processes = self.processes()
        self.process.wait()

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split("\n")[:-1] if path.exists() else []  # what follows the last newline is cut short

    def _log_identity(self) -> int | None:
        path = self.folder / "metrics.jsonl"
        return path.stat().st_ino if path.exists() else None  # a start writes the log anew

    def _unfinished(self) -> set[Path]:
        return set(self.checkpoints.folder.glob(".*.tmp"))
