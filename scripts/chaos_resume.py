"""Kill a training run again and again, and compare what it becomes with a run nobody touched.

scripts/chaos_resume.py [--workers 1 2] [--kills 10] [--keep FOLDER]

Each round starts the launch command, kills every process of it with SIGKILL at a random moment (every third time as soon
as a checkpoint is being written, every fourth while the first batches load and the graph compiles), and starts it again
until it ends by itself. Then the loss terms of every step and every array of the last checkpoint must be the same, bit
for bit. Exit code 1 if they are not.
"""
import argparse
import io
import json
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
from lightclip_ms.train.step import METRICS

ROOT = Path(__file__).parents[1]
TINY = ["model.image_options={width: 8, depths: [1, 1, 1, 1], stem_pool: false}", "model.embed_dim=32",
        "model.vocab_size=600", "model.text_width=32", "model.text_heads=2", "data.val=", "train.batch_size=8",
        "train.epochs=3", "train.log_every=1", "train.save_steps=2", "device=cpu"]
PAIRS = 192


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


def start(run: Path, shard: Path, workers: int) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "scripts/train.py"), "--config", str(ROOT / "configs/demo.yaml"), "--devices",
               str(workers), f"data.train={shard}", f"output_dir={run}", *TINY]
    with open(run.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def kill_all(run: Path) -> None:
    """SIGKILL to every process whose command line names the run: launcher, scheduler and workers."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(run).encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:  # ended meanwhile
            continue


def wait_for_the_moment(process: subprocess.Popen, run: Path, kind: str, rng: random.Random) -> str:
    """Return what the run was doing when its moment came, or "" if it ended first."""
    deadline = time.monotonic() + (rng.uniform(4, 14) if kind == "starting" else 600)
    known = len(CheckpointFolder(run / "checkpoints").paths())
    steps = _steps(run)
    target = steps + rng.randint(1, 9)
    while process.poll() is None:
        saving = list((run / "checkpoints").glob(".*.tmp"))
        if kind == "saving" and saving and _steps(run) > steps:
            return f"saving after step {_steps(run)}"
        if kind == "training" and _steps(run) >= target:
            time.sleep(rng.uniform(0, 0.3))
            return f"training, step {_steps(run)}, {len(CheckpointFolder(run / 'checkpoints').paths())} checkpoints"
        if kind == "starting" and time.monotonic() > deadline:
            return f"loading and compiling, {known} checkpoints"
        time.sleep(0.002 if kind == "saving" else 0.05)
    return ""


def _steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def records(run: Path) -> list[tuple]:
    """(step, loss terms ...) of every step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["lr"], *(line[name] for name in METRICS if name != "stop")) for line in lines]


def difference(run: Path, untouched: Path) -> str:
    """What differs between two finished runs; empty if nothing."""
    if records(run) != records(untouched):
        return "the loss terms differ"
    (_, ours, _), (_, theirs, _) = (CheckpointFolder(folder / "checkpoints").latest() for folder in (run, untouched))
    wrong = [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    return f"{len(wrong)} arrays differ, first {wrong[0]}" if wrong else ""


def compare(folder: Path, shard: Path, workers: int, kills: int, rng: random.Random) -> bool:
    """One untouched run and one that is killed `kills` times."""
    untouched, killed = folder / f"untouched_{workers}", folder / f"killed_{workers}"
    code = start(untouched, shard, workers).wait()
    if code:
        raise ValueError(f"the untouched run failed with exit code {code}; see {untouched.with_suffix('.log')}")
    done = 0
    while done < kills:
        kind = "saving" if done % 3 == 2 else "starting" if done % 4 == 3 else "training"
        process = start(killed, shard, workers)
        moment = wait_for_the_moment(process, killed, kind, rng)
        kill_all(killed)
        process.wait()
        if not moment:
            print(f"{workers} workers: the run ended after {done} kills; use fewer kills or more steps")
            break
        done += 1
        print(f"{workers} workers, kill {done}: {moment}", flush=True)
    code = start(killed, shard, workers).wait()
    wrong = f"exit code {code}" if code else difference(killed, untouched)
    print(f"{workers} workers, {done} kills, {len(records(untouched))} steps: "
          + (wrong or "every loss term and every array of the last checkpoint is identical"), flush=True)
    return not wrong and done == kills


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
