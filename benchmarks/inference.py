"""One tower in several runtimes: first whether they agree, then how long they take, in turn."""

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.inference_inputs import tower_inputs
from benchmarks.protocol import Worker
from lightclip_ms.config.file import to_dict

RUNTIMES = ("onnxruntime.float32", "onnxruntime.float16", "onnxruntime.int8", "mindspore", "torch", "torch.compile")
WARM_UP_CALLS, WARM_UP_SECONDS = (
    16,
    8,
)  # MindSpore tries in an operator's first 15 calls how many threads it should have
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Row:
    """A runtime's results: seconds and processor seconds by task (medians), and what it costs to have it."""

    runtime: str
    threads: int
    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)  # of all threads together
    load: float = 0.0
    first: float = 0.0  # seconds of the first call of all tasks: compilation
    peak_megabytes: float = 0.0
    file_megabytes: float | None = None
    difference: float = 0.0  # relative to PyTorch's eager result


def prepare(config, folder: Path, environment: dict) -> None:
    """Weights, inputs and exported files of a `ModelConfig`, made in a process of its own."""
    (folder / "config.json").write_text(json.dumps(to_dict(config)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.inference_export", str(folder)]
    subprocess.run(command, env=_environment(environment, os.cpu_count()), check=True)


def measure_tower(tower: str, folder: Path, runtimes, threads: int, rounds: int, environment: dict) -> list[Row]:
    """Rows of one tower of a prepared folder; the runtimes' processes live together and take turns, task by task."""
    tasks = list(tower_inputs(tower, np.load(folder / "inputs.npz")))
    rows = {runtime: Row(runtime, threads) for runtime in runtimes}
    with ExitStack() as stack:
        workers = {
            runtime: stack.enter_context(
                Worker(
                    "inference_worker", [runtime, tower, str(folder), str(threads)], _environment(environment, threads)
                )
            )
            for runtime in runtimes
        }
        for runtime, worker in workers.items():
            rows[runtime].load = worker.report["load"]
            rows[runtime].first = worker.run("check")["seconds"]
        for task in tasks:
            for worker in workers.values():
                _warm_up(worker, task)
            times = {runtime: [] for runtime in runtimes}
            for _ in range(rounds):
                for runtime, worker in workers.items():
                    times[runtime].append(worker.run(task))
            for runtime, answers in times.items():
                rows[runtime].seconds[task] = statistics.median(answer["seconds"] for answer in answers)
                rows[runtime].processor[task] = statistics.median(answer["processor"] for answer in answers)
                rows[runtime].peak_megabytes = answers[-1]["peak_megabytes"]
    for row in rows.values():
        _, _, precision = row.runtime.partition("onnxruntime.")
        if precision:
            row.file_megabytes = (folder / f"{tower}.{precision}.onnx").stat().st_size / 1e6
        if "torch" in runtimes:
            row.difference = _difference(folder, tower, row.runtime, threads)
    return list(rows.values())


def _warm_up(worker: Worker, task: str) -> None:
    spent = 0.0
    for _ in range(WARM_UP_CALLS):
        if spent >= WARM_UP_SECONDS:
            break
        spent += worker.run(task)["seconds"]


def _difference(folder: Path, tower: str, runtime: str, threads: int) -> float:
    """The largest difference of a feature to PyTorch's, over the length of its row."""
    found, wanted = (np.load(folder / f"{each}-{tower}-{threads}.npz") for each in (runtime, "torch"))
    return max(
        float((np.linalg.norm(found[key] - wanted[key], axis=1) / np.linalg.norm(wanted[key], axis=1)).max())
        for key in wanted
    )


def _environment(environment: dict, threads: int) -> dict:
    return {**environment, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
