"""Deaths of single processes of a running job: does all of it end, how soon, and what is lost?"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.chaos_run import Run

LIMIT = 30.0  # seconds in which a job must end, beyond the step under way and the one that carries the request
STEPS_BEFORE = 5


class Fault(NamedTuple):
    """A signal to one process of a job of `workers`; `saves`: no step may be lost."""

    name: str
    workers: int
    signal: signal.Signals
    victim: Callable[[Run], psutil.Process]
    saves: bool


def _launcher(run: Run) -> psutil.Process:
    return psutil.Process(run.process.pid)


def _msrun(run: Run) -> psutil.Process:
    return _launcher(run).children()[0]


def _member(role: str, number: int = 0) -> Callable[[Run], psutil.Process]:
    def find(run: Run) -> psutil.Process:
        members = [child for child in _msrun(run).children() if child.environ().get("MS_ROLE") == role]
        return [child for child in members if os.path.basename(child.cmdline()[0]) != "tail"][number]

    return find


FAULTS = (
    Fault("SIGHUP to the launcher", 2, signal.SIGHUP, _launcher, True),
    Fault("SIGTERM to the launcher", 2, signal.SIGTERM, _launcher, True),
    Fault("kill -9 of the launcher", 2, signal.SIGKILL, _launcher, True),
    Fault("kill -9 of the launcher of one process", 1, signal.SIGKILL, _launcher, True),
    Fault("kill -9 of msrun", 2, signal.SIGKILL, _msrun, True),
    Fault("kill -9 of the scheduler", 2, signal.SIGKILL, _member("MS_SCHED"), True),
    Fault("SIGSTOP of the scheduler", 2, signal.SIGSTOP, _member("MS_SCHED"), True),
    Fault("kill -9 of worker 0", 2, signal.SIGKILL, _member("MS_WORKER", 0), False),
    Fault("kill -9 of worker 1", 2, signal.SIGKILL, _member("MS_WORKER", 1), False),
    Fault("SIGSTOP of worker 1", 2, signal.SIGSTOP, _member("MS_WORKER", 1), False),
)


def try_faults(folder: Path, overrides: list[str]) -> bool:
    """One job for each fault; prints a table. Whether all ended in time and lost no more than they had to."""
    print("| fault | seen | seconds | of a step | steps made | steps lost |\n|---|---|---|---|---|---|", flush=True)
    results = []
    for number, fault in enumerate(FAULTS):
        run = Run(folder / f"fault_{number}", fault.workers, [*overrides, "train.epochs=10000", "train.save_steps=0"])
        results.append(_try(fault, run))
    return all(results)


def _try(fault: Fault, run: Run) -> bool:
    run.start()
    try:
        run.wait(lambda: run.step() >= 1)
        began = time.monotonic()
        run.wait(lambda: run.step() >= STEPS_BEFORE)
        step_seconds = (time.monotonic() - began) / (STEPS_BEFORE - 1)
        began = time.monotonic()
        fault.victim(run).send_signal(fault.signal)
        while run.processes() and time.monotonic() - began < 3 * LIMIT:
            run.process.poll()
            time.sleep(0.1)
        seconds, left = time.monotonic() - began, len(run.processes())
    finally:
        run.kill(run.processes())
    made, newest = len(run.records()), run.checkpoints.latest(lambda text: None)
    lost = made - (newest[2]["global_step"] if newest else 0)
    seen = f"exit code {run.process.returncode}" if run.process.returncode >= 0 else "no launcher left to say"
    if left:
        seen += f", {left} PROCESSES LEFT"
    print(
        f"| {fault.name} | {seen}; {_last_words(run)} | {seconds:.0f} | {step_seconds:.1f} | {made} | {lost} |",
        flush=True,
    )
    return not left and seconds < LIMIT + 2 * step_seconds and (lost == 0 or not fault.saves)


def _last_words(run: Run) -> str:
    """What the launcher or rank 0 said in the end."""
    logs = [run.log, run.folder / "logs/worker_0.log", run.folder / "train.log"]
    lines = [line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line.startswith(("error: ", "stopped on request"))]
    return said[0][:120].replace(str(run.folder), "RUN") if said else "nothing"
