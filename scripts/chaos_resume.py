"""Kill a training run again and again, and compare what it becomes with a run nobody touched.

scripts/chaos_resume.py [--workers 1 2] [--kills 10] [--keep FOLDER]

Every process of the launch command is killed with SIGKILL at a random step, every third time while a checkpoint is
being written, and the same command goes on; every fourth time it is first killed once more while it loads data and
compiles. A table tells for each kill which steps the continuation made and whether their loss terms are those of the
untouched run. In the end so must be every array of the last checkpoint, bit for bit. Exit code 1 if anything differs.
"""

import argparse
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lightclip_ms.train.checkpoint import CheckpointFolder

ROOT = Path(__file__).parents[1]
PAIRS, BATCH = 192, 8
STEPS_PER_KILL = 24  # so that a run is never over before its last kill
TINY = [
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
]
MEASURED = {"images_per_second", "data_wait", "eta_seconds", "memory_mb", "device_memory_mb", "step"}
REACTION = 4  # steps that may pass between a decision and the kill


def write_pairs(path: Path) -> None:
    """PAIRS noise pictures with random words."""
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


class Run:
    """One training run, started as often as wanted.

    Args:
        folder: its output_dir; the output of all starts goes to `FOLDER.log`.
        shard: its pairs.
        workers: its processes.
        epochs: its length.
    """

    def __init__(self, folder: Path, shard: Path, workers: int, epochs: int):
        self.folder = folder
        self.checkpoints = CheckpointFolder(folder / "checkpoints")
        self._command = [
            sys.executable,
            str(ROOT / "scripts/train.py"),
            "--config",
            str(ROOT / "configs/demo.yaml"),
            "--devices",
            str(workers),
            f"data.train={shard}",
            f"output_dir={folder}",
            f"train.epochs={epochs}",
            *TINY,
        ]

    def start(self) -> None:
        """Start the launch command; `resumed_at` is the step it goes on from."""
        saved = self.checkpoints.paths()
        self.resumed_at = int(saved[-1].stem.removeprefix("step_")) if saved else 0
        self._old_log, self._old_files = self._log_identity(), self._unfinished()
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )

    def finish(self) -> None:
        """Wait for a good end; ValueError if it is another."""
        if self._process.wait():
            raise ValueError(
                f"{self.folder}: exit code {self._process.returncode}; see {self.folder.with_suffix('.log')}"
            )

    def kill_at_start(self, seconds: float) -> str:
        """Kill after `seconds`, or once a step was made if that is earlier."""
        self._wait(lambda: self.step() > self.resumed_at, seconds)
        self._kill(self._processes())
        return "training" if self.step() > self.resumed_at else "loading"

    def kill_at(self, step: int, pause: float) -> str:
        """Kill `pause` seconds after `step` was made."""
        self._wait(lambda: self.step() >= step)
        time.sleep(pause)
        self._kill(self._processes())
        return "training"

    def kill_while_saving(self, step: int, latest: int) -> str:
        """Kill when a checkpoint is being written at `step` or later; at `latest` in any case."""
        self._wait(lambda: self.step() >= step)
        processes = self._processes()
        self._wait(lambda: self._unfinished() - self._old_files or self.step() >= latest)
        self._kill(processes)
        return "saving" if self._unfinished() - self._old_files else "training"

    def step(self) -> int:
        """The last step in the log, 0 until this start has opened it."""
        lines = self._lines() if self._log_identity() != self._old_log else []
        return json.loads(lines[-1])["step"] if lines else 0

    def records(self) -> list[tuple]:
        """(step, then everything else but what depends on the machine) of every step."""
        records = [json.loads(line) for line in self._lines()]
        return [
            (record["step"], *(value for name, value in sorted(record.items()) if name not in MEASURED))
            for record in records
        ]

    def _lines(self) -> list[str]:
        path = self.folder / "metrics.jsonl"
        return path.read_text().split("\n")[:-1] if path.exists() else []  # what follows the last newline is cut short

    def _log_identity(self) -> int | None:
        path = self.folder / "metrics.jsonl"
        return path.stat().st_ino if path.exists() else None  # a start writes the log anew

    def _unfinished(self) -> set[Path]:
        return set(self.checkpoints.folder.glob(".*.tmp"))

    def _wait(self, condition, seconds: float = math.inf) -> None:
        """Wait for `condition`, at most `seconds`; ValueError if the run ends before it."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ValueError(
                    f"{self.folder}: ended with exit code {self._process.returncode} before it was killed; see "
                    f"{self.folder.with_suffix('.log')}"
                )
            time.sleep(0.001)

    def _processes(self) -> list[int]:
        """Launcher, scheduler, workers and the tail of their logs, by their command lines."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # ended meanwhile
                continue
            if f"output_dir={self.folder}" in words or any(word.startswith(f"{self.folder}/logs/") for word in words):
                found.append(int(entry.name))
        return found

    def _kill(self, processes: list[int]) -> None:
        while processes:
            for process in processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            processes = self._processes()
        self._process.wait()


def compare(folder: Path, shard: Path, workers: int, kills: int, rng: random.Random) -> bool:
    """One untouched run and one that is killed `kills` times; prints the table."""
    steps_per_epoch = PAIRS // (BATCH * workers)
    epochs = math.ceil(kills * STEPS_PER_KILL / steps_per_epoch)
    total = epochs * steps_per_epoch
    untouched, killed = (Run(folder / f"{name}_{workers}", shard, workers, epochs) for name in ("untouched", "killed"))
    untouched.start()
    untouched.finish()
    expected = untouched.records()
    assert [record[0] for record in expected] == list(range(1, total + 1))
    print(
        f"{workers} worker(s), {total} steps\n\n| kill | while | continued from step | to | loss terms |\n|---|---|---|---|---|"
    )
    same, moment = True, ""
    for number in range(kills + 1):
        if number % 4 == 3:
            killed.start()
            moment += f", again while {killed.kill_at_start(rng.uniform(2, 15))}"
        killed.start()
        previous, moment = moment, ""
        if number == kills:
            killed.finish()
        else:
            latest = killed.resumed_at + (total - killed.resumed_at) // (kills - number + 1) - REACTION
            step = rng.randint(killed.resumed_at + 1, latest)
            moment = (
                killed.kill_while_saving(step, latest) if number % 3 == 2 else killed.kill_at(step, rng.uniform(0, 0.2))
            )
        made = killed.records()
        identical = made == expected[: len(made)]
        same = same and identical
        if number:
            print(
                f"| {number} | {previous} | {killed.resumed_at} | {made[-1][0]} | {'identical' if identical else 'DIFFERENT'} |",
                flush=True,
            )
    (_, ours, _), (_, theirs, _) = killed.checkpoints.latest(), untouched.checkpoints.latest()
    wrong = [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    same = same and len(made) == total and not wrong
    print(f"\nLast checkpoint: {len(theirs) - len(wrong)} of {len(theirs)} arrays identical.\n", flush=True)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shard = folder / "pairs.tar"
        write_pairs(shard)
        rng = random.Random(arguments.seed)
        results = [compare(folder, shard, workers, arguments.kills, rng) for workers in arguments.workers]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
