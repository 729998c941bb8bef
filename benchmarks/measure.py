"""One model in both frameworks: first whether they agree, then how long they take."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.batch import make_batch, overflow_share, packed_rows
from benchmarks.compare import compare_gradients, load_gradients
from benchmarks.protocol import Worker
from lightclip_ms.config.file import to_dict

TASKS = ("step", "image encoder", "text encoder", "encode_image", "encode_text")
FRAMEWORKS = ("mindspore", "torch")
# MindSpore tries in an operator's first 15 calls how many threads it should have.
WARM_UP_CALLS, WARM_UP_SECONDS = 16, 20
CHECKED_PAIRS = 16  # of a larger batch


@contextmanager
def running_workers(folder: str, threads: int, environment: dict, frameworks: Sequence[str] = FRAMEWORKS):
    """A worker of each framework, ours first: it leaves its weights for the other."""
    environment = worker_environment(threads, environment)
    with ExitStack() as stack:
        yield {
            framework: stack.enter_context(Worker(f"{framework}_worker", [folder, str(threads)], environment))
            for framework in frameworks
        }


def worker_environment(threads: int, environment: dict) -> dict:
    root = str(Path(__file__).resolve().parent.parent)
    return {**environment, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": root}


def check(folder: str, workers: dict) -> dict:
    """How far our loss terms and gradients, and PyTorch's gradients in float32, are from PyTorch's in float64."""
    ours, theirs = (workers[framework].run("check")["value"]["terms"] for framework in FRAMEWORKS)
    our_gradients, torch_gradients, reference = load_gradients(folder)
    return {
        "terms_differ": float(np.abs(np.subtract(ours, theirs)).max()),
        "gradients_differ": compare_gradients(our_gradients, reference),
        "torch_gradients_differ": compare_gradients(torch_gradients, reference),
    }


def warm_up(worker: Worker, task: str) -> float:
    """Seconds of the first of `WARM_UP_CALLS` runs, or of fewer that take `WARM_UP_SECONDS` without the first."""
    first = worker.run(task)["seconds"]
    spent = 0.0
    for _ in range(WARM_UP_CALLS - 1):
        if spent >= WARM_UP_SECONDS:
            break
        spent += worker.run(task)["seconds"]
    return first


def run_tasks(workers: dict, tasks: Sequence[str], rounds: int, operators: bool) -> dict:
    """Medians by task and framework, in alternating turns after a warm-up; the first step compiles and is separate."""
    result = {"start": {framework: worker.report for framework, worker in workers.items()}}
    for task in tasks:
        first = {framework: warm_up(worker, task) for framework, worker in workers.items()}
        answers = {framework: [] for framework in workers}
        for _ in range(rounds):
            for framework, worker in workers.items():
                answers[framework].append(worker.run(task))
        result[task] = {
            framework: {key: statistics.median(answer[key] for answer in each) for key in ("seconds", "processor")}
            for framework, each in answers.items()
        }
        if task == "step":
            for framework, seconds in first.items():
                result["start"][framework]["first step"] = seconds
            result["peak_megabytes"] = {framework: each[-1]["peak_megabytes"] for framework, each in answers.items()}
            if operators:
                result["operators"] = {
                    framework: worker.run("operators")["value"] for framework, worker in workers.items()
                }
    return result


def run_steps(folder: str, threads: int, rounds: int, environment: dict) -> dict:
    """Medians of the step in other forms: ours without packing, PyTorch with captions cut to the longest."""
    steps = {"unpacked": ("mindspore_worker", "step"), "torch, cut to the longest": ("torch_worker", "step, cut")}
    result = {}
    for name, (module, task) in steps.items():
        with Worker(module, [folder, str(threads), "unpacked"], worker_environment(threads, environment)) as worker:
            warm_up(worker, task)
            result[name] = statistics.median(worker.run(task)["seconds"] for _ in range(rounds))
    return result


def measure(
    config,
    batch_size: int,
    rounds: int,
    threads: int,
    operators: bool,
    environment: dict,
    lengths: str = "uniform",
    tasks: Sequence[str] = TASKS,
    alone: bool = False,
) -> dict:
    """Everything about one `Config` at one batch size; `environment` is what both workers get.

    `alone`: the frameworks do not take turns; one has ended before the other starts.
    """
    model = config.model
    with tempfile.TemporaryDirectory() as folder:
        parts = {"model": to_dict(model), "loss": to_dict(config.loss)}
        Path(folder, "config.json").write_text(json.dumps(parts), encoding="utf-8")
        texts = batch_size, model.context_length, model.vocab_size, lengths
        rows = packed_rows(*texts)
        sizes = model.image_size, model.context_length, model.vocab_size
        # In float64 and in workers of their own, as that takes twice the memory.
        np.savez(f"{folder}/batch.npz", **make_batch(min(batch_size, CHECKED_PAIRS), *sizes, lengths))
        with running_workers(folder, threads, environment) as workers:
            agreement = check(folder, workers)
        np.savez(f"{folder}/batch.npz", **make_batch(batch_size, *sizes, lengths))
        measured = {}
        for frameworks in [(each,) for each in FRAMEWORKS] if alone else [FRAMEWORKS]:
            with running_workers(folder, threads, environment, frameworks) as workers:
                for name, found in run_tasks(workers, tasks, rounds, operators).items():
                    measured.setdefault(name, {}).update(found)
        return {
            "model": model.name,
            "batch": batch_size,
            "threads": threads,
            "lengths": lengths,
            "rows": rows,
            "overflow": overflow_share(rows, *texts),
            **agreement,
            **measured,
            "steps": run_steps(folder, threads, rounds, environment),
        }
