"""A worker ends with the launcher that started it, however that one died.

The kernel sends a worker SIGTERM when its parent (`msrun`, or the launcher of a single process) dies: before training
the worker ends at once, while training it saves and ends. A thread ends it by force if that takes too long, for
instance because another rank is gone and a collective waits for it.
"""

import atexit
import ctypes
import os
import signal
import sys
import threading
import time

LAUNCHER = "LIGHTCLIP_LAUNCHER"  # set by the launcher: its process number and start time
GRACE_SECONDS = (
    22.0  # to save and to end, beyond the longest step so far; 30 with what noticing and the others' ends take
)
_POLL_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1

_longest_step = 0.0
_exit_code = None


def note_step(seconds: float) -> None:
    """Record how long a step took: one under way at the launcher's death may be finished."""
    global _longest_step
    _longest_step = max(_longest_step, seconds)


def leave_with(code: int) -> None:
    """End with `code` and without MindSpore's own end, in a process that follows a launcher: all is saved."""
    global _exit_code
    _exit_code = code


def identity() -> str:
    """This process as a value of `LAUNCHER`."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def is_alive(process: str) -> bool:
    """Whether the process that `identity` described is still there and no zombie."""
    pid, _, started = process.partition(":")
    return pid.isdigit() and _start_time(int(pid)) == started


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def follow_launcher() -> None:
    """In a process that `launch` started: end when the launcher or `msrun` dies. Elsewhere nothing happens.

    MindSpore holds the interpreter's lock while it builds the cluster: no thread runs, but the kernel's signal works.
    """
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return
    parent = os.getppid()
    # The scheduler has nothing to save, and a signal that it might handle would not end it while it is stopped.
    end_with_parent(signal.SIGKILL if os.environ.get("MS_ROLE") == "MS_SCHED" else signal.SIGTERM)
    if not is_alive(launcher):  # it died while this process loaded
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()
    atexit.register(_leave, parent)


def _leave(parent: int) -> None:
    """Skip MindSpore's own end, which looks for the scheduler and other ranks for 20 s, where it has no use.

    That is after a stop, without a parent to report to, and after an exception: `msrun` ends the other ranks when it
    sees it.
    """
    if _exit_code is not None or os.getppid() != parent or getattr(sys, "last_value", None) is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if _exit_code is None else _exit_code)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)  # where the kernel does not send it
    time.sleep(GRACE_SECONDS + _longest_step)
    os.kill(os.getpid(), signal.SIGKILL)


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
