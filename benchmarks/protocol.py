"""Two workers, one at a time: each framework in its own process, paused while the other one is measured.

A worker reads one task name a line (as JSON) and answers with the seconds it took. Threads that spin
while they wait would disturb the other side, so the controller stops the whole process between its turns.
"""

import json
import os
import signal
import subprocess
import sys
import time

from lightclip_ms.runtime.peak_memory import peak_megabytes


def serve(tasks: dict, report: dict) -> None:
    """Run in a worker: send `report`, then run the tasks asked for. Everything else that is printed goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(report), file=answer)
    for line in sys.stdin:
        task = tasks[json.loads(line)]
        start = time.perf_counter(), time.process_time()
        value = task()
        seconds, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        print(
            json.dumps(
                {
                    "seconds": seconds,
                    "processor": processor,
                    "peak_megabytes": peak_megabytes(),
                    "value": value if isinstance(value, dict) else None,
                }
            ),
            file=answer,
        )


class Worker:
    """A running `python -m benchmarks.<module> <arguments>`."""

    def __init__(self, module: str, arguments: list, environment: dict):
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.report = self._read()
        self.pause()

    def run(self, task: str) -> dict:
        """ "seconds", "processor" (seconds of all threads together), "peak_megabytes" so far, and "value", the task's
        result if it is a dictionary."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(task) + "\n")
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
            module, code = self.process.args[2], self.process.wait()
            raise ValueError(f"{module} ended with exit code {code}; its messages stand above")
        return json.loads(line)
