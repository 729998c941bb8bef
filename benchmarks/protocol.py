"""Two workers, one at a time: each framework in its own process, paused while the other one is measured.

A worker reads one JSON line `[task, times]` after the other and answers with the seconds of each run. Threads that spin
while they wait would disturb the other side, so the controller stops the whole process between its turns.
"""
import json
import os
import resource
import signal
import subprocess
import sys
import time


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(tasks: dict, report: dict) -> None:
    """Run in a worker: send `report`, then `tasks[name]()` as often as asked. Everything else must go to stderr."""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(report), file=answer)
    for line in sys.stdin:
        name, times = json.loads(line)
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            tasks[name]()
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds, "peak_megabytes": peak_megabytes()}), file=answer)


class Worker:
    """A running `python -m benchmarks.<module> <arguments>`."""

    def __init__(self, module: str, arguments: list, environment: dict):
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment)
        self.report = self._read()
        self.pause()

    def run(self, task: str, times: int = 1) -> dict:
        """{"seconds": one a run, "peak_megabytes": so far}."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps([task, times]) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        self.pause()
        return answer

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[2]} ended with exit code {self.process.wait()}; see its messages above")
        return json.loads(line)
