"""A job of one or more processes that take the same orders at the same time, over named pipes.

Ranks under `msrun` have no standard input of their own, and their launcher must not be stopped: a job waits for its
next order instead, asleep, while others are measured.
"""

import itertools
import json
import os
import resource
import select
import subprocess
import time
from pathlib import Path

PATIENCE = 600  # seconds that a job may take for an order, compilation included


def used() -> dict:
    """What this process, all its threads together, used so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter(),
        "user": usage.ru_utime,
        "kernel": usage.ru_stime,
        "voluntary": usage.ru_nvcsw,
        "involuntary": usage.ru_nivcsw,
    }


class Orders:
    """A rank's end: iterate over orders, and answer each."""

    def __init__(self, folder: str, rank: int):
        self._asked = open(Path(folder, f"orders.{rank}"), encoding="utf-8")
        self._answers = open(Path(folder, f"answers.{rank}"), "w", buffering=1, encoding="utf-8")

    def next(self) -> dict | None:
        """The next order, None when there will be no more."""
        line = self._asked.readline()
        return json.loads(line) if line else None

    def answer(self, before: dict, after: dict, count: int) -> None:
        """Report what `count` steps used between two calls of `used`."""
        print(json.dumps({key: (after[key] - before[key]) / count for key in before}), file=self._answers)


class Job:
    """The controller's end of `count` processes, which all read `folder`'s pipes."""

    def __init__(self, commands: list[list[str]], ranks: int, folder: Path, environment: dict):
        folder.mkdir(parents=True)
        self._pipes = []
        for rank in range(ranks):
            names = [folder / f"{kind}.{rank}" for kind in ("orders", "answers")]
            for name in names:
                os.mkfifo(name)
            # Opened for both directions, or this would wait for a rank that may never come.
            self._pipes.append([os.fdopen(os.open(name, os.O_RDWR), mode) for name, mode in zip(names, ("w", "r"))])
        self.processes = [subprocess.Popen(command, env=environment) for command in commands]

    def run(self, task: str, count: int) -> list[dict]:
        """What each rank used for a step of `count`."""
        for orders, _ in self._pipes:
            print(json.dumps({"task": task, "count": count}), file=orders, flush=True)
        return [self._read(answers) for _, answers in self._pipes]

    def _read(self, answers) -> dict:
        deadline = time.monotonic() + PATIENCE
        while not select.select([answers], [], [], 1)[0]:
            ended = [process.args for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise ValueError(f"no answer; ended: {ended or 'none'}. Its messages are above")
        return json.loads(answers.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in itertools.chain(*self._pipes):
            pipe.close()  # the ranks read that there are no more orders
        for process in self.processes:
            process.wait()
