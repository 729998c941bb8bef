"""Speed of the training loop against its own step and against PyTorch's step, on one and on two processes.

    python scripts/bench_loop.py data.train=demo_data/train-*.tar

Each job computes the same step of the demo, on all cores together: a training run of one process, one of two processes
that `msrun` starts, and PyTorch in as many processes, with gloo between them. All run at once, but one at a time has
something to do; they take turns, and medians are compared. PyTorch's jobs have no loop: their batch stays the same.
Ours packs captions as training does; with `train.pack_captions=false` both compute the padding.

Needs PyTorch: pip install -e .[bench]
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ENVIRONMENT = dict(os.environ)  # before `lightclip_ms` adds what only MindSpore should get

from benchmarks.measure import WARM_UP_CALLS  # noqa: E402
from benchmarks.ranks import Job  # noqa: E402
from lightclip_ms.config.file import load_config  # noqa: E402
from lightclip_ms.runtime.exits import main_guard  # noqa: E402

ENDLESS = ("data.val=", "data.zeroshot=", "train.epochs=1000", "train.save_minutes=10000")
WORLDS = (1, 2)


def our_job(ranks: int, folder: Path, config: str, overrides: list[str]) -> Job:
    """A training run as `--devices` starts it."""
    output_dir = str(folder / "run")
    worker = ["-m", "benchmarks.loop_rank", str(folder), config, *ENDLESS, *overrides, f"output_dir={output_dir}"]
    code = f"sys.exit(launch({worker}, {ranks}, {output_dir!r}, 'cpu'))"
    command = [sys.executable, "-c", f"import sys; from lightclip_ms.runtime.launch import launch; {code}"]
    return Job([command], ranks, folder, _environment())


def torch_job(ranks: int, folder: Path, source: Path) -> Job:
    """PyTorch's step on the weights and batches of `our_job`."""
    commands = [
        [sys.executable, "-m", "benchmarks.torch_rank", *map(str, (folder, source, rank, ranks))]
        for rank in range(ranks)
    ]
    return Job(commands, ranks, folder, _environment(OMP_NUM_THREADS=str(max(1, os.cpu_count() // ranks))))


def _environment(**more) -> dict:
    return {**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).resolve().parent.parent), **more}


def measure(jobs: dict[tuple[str, int], Job], rounds: int, steps: int) -> dict:
    """(framework, ranks, task) -> what each rank used for a step, a list for every round."""
    for job in jobs.values():
        job.run("step", WARM_UP_CALLS)
    tasks = [(*key, task) for key in jobs for task in (("step", "loop") if key[0] == "ours" else ("step",))]
    found = {task: [] for task in tasks}
    for _ in range(rounds):
        for framework, ranks, task in tasks:
            found[framework, ranks, task].append(jobs[framework, ranks].run(task, steps))
    return found


def show(found: dict, batch_size: int) -> None:
    """A row a task: medians over rounds of a step's time, and of what one process used for it."""
    print(
        "| | processes | ms a step | images/s | of each process: user s | kernel s | waits | switched away |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    speed = {}
    for key, each in found.items():
        seconds = statistics.median(turn[0]["seconds"] for turn in each)
        speed[key] = batch_size * key[1] / seconds
        user, kernel, waits, switches = (
            statistics.median(statistics.mean(rank[name] for rank in turn) for turn in each)
            for name in ("user", "kernel", "voluntary", "involuntary")
        )
        print(
            f"| {key[0]}, {key[2]} | {key[1]} | {1e3 * seconds:.0f} | {speed[key]:.0f} | {user:.3f} | {kernel:.3f} | "
            f"{waits:,.0f} | {switches:,.0f} |"
        )
    for ranks in WORLDS:
        loop, step, torch = (
            speed[name, ranks, task] for name, task in (("ours", "loop"), ("ours", "step"), ("PyTorch", "step"))
        )
        print(
            f"{ranks} processes: loop / its own step {loop / step:.3f}, step / PyTorch's step {step / torch:.3f}, "
            f"loop / PyTorch's step {loop / torch:.3f}"
        )


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="demo", help="file or shipped name (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measured turns of each job (default %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="of a turn (default %(default)s)")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example data.train=demo_data/train-*.tar"
    )
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        raise ValueError("PyTorch is not installed; pip install -e .[bench]")
    config = load_config(arguments.config, [*ENDLESS, *arguments.overrides])
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, jobs = Path(name), {}
        for ranks in WORLDS:  # one after the other: each leaves its weights and batches for PyTorch
            ours = folder / f"ours{ranks}"
            jobs["ours", ranks] = stack.enter_context(our_job(ranks, ours, arguments.config, arguments.overrides))
            jobs["ours", ranks].run("step", 1)
            jobs["PyTorch", ranks] = stack.enter_context(torch_job(ranks, folder / f"torch{ranks}", ours))
        show(measure(jobs, arguments.rounds, arguments.steps), config.train.batch_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
