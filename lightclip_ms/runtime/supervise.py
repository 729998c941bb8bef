"""Waiting for a job's processes on this machine: hand on requests to stop, and end a job that cannot go on.

`msrun` ends a job when a worker fails. It does not see a worker or a scheduler that is stopped (SIGSTOP), nor a
scheduler that is gone, and what it started outlives it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import psutil

from lightclip_ms.runtime.exits import ERROR_PREFIX
from lightclip_ms.runtime.lifeline import LAUNCHER, identity

SHELL = "LIGHTCLIP_SHELL"  # set by run_distribute.sh: its process number; when that script dies, the job is stopped
STOPPED_SECONDS = 10  # a process in SIGSTOP for longer ends the job: the others wait for it
GONE_SECONDS = 5  # when a worker fails, the scheduler does so too; msrun then ends the job
LEFTOVER_SECONDS = 60  # for workers that outlive msrun to save and end; their own lifeline gives them less
_POLL_SECONDS = 0.5
_CHECK_SECONDS = 2.0


class Supervisor:
    """Waits for `child`: `msrun`, whose output it passes on if that is a pipe, or a single training process.

    Ctrl-C, SIGTERM, SIGHUP and the death of run_distribute.sh ask the workers once to save and stop.
    """

    def __init__(self, child: subprocess.Popen, is_msrun: bool):
        self._child, self._is_msrun = child, is_msrun
        self.was_stopped = False  # whether a stop was requested
        self.failure = None  # why this supervisor ended the job
        self._asked, self._roles, self._since = set(), {}, {}
        self._lost_scheduler = False
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        for number in numbers:
            signal.signal(number, self._request)

    def wait(self, tick=lambda: None, has_failed=lambda: False) -> int:
        """The child's exit code, once all it started has ended.

        Args:
            tick: called now and then.
            has_failed: whether `msrun` has reported that a worker failed.
        """
        checked = time.monotonic()
        while self._child.poll() is None:
            self._pass_on()
            tick()
            if os.environ.get(SHELL, "") not in ("", str(os.getppid())):
                self.was_stopped = True
            if self.was_stopped:
                self._ask_to_stop()
            if self._is_msrun and time.monotonic() - checked > _CHECK_SECONDS:
                self._check(has_failed)
                checked = time.monotonic()
        self._end_leftovers()
        while self._is_msrun and self._pass_on():
            pass
        return self._child.returncode

    def _request(self, number, frame) -> None:
        self.was_stopped = True

    def _pass_on(self) -> bool:
        """Wait a moment for output of the child and print it; False if there was none."""
        if not self._is_msrun:
            try:
                self._child.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            return False
        if not select.select([self._child.stdout], [], [], _POLL_SECONDS)[0]:
            return False
        output = os.read(self._child.stdout.fileno(), 1 << 16)
        if not output:  # msrun has closed it
            time.sleep(_POLL_SECONDS)
            return False
        try:
            print(output.decode(errors="replace"), end="", flush=True)
        except OSError:  # a full disk behind the launcher's output is no reason to end the training
            pass
        return True

    def _workers(self) -> list[psutil.Process]:
        return [process for process, role in self._members() if role == "MS_WORKER"]

    def _members(self) -> list[tuple[psutil.Process, str]]:
        """Processes of the job and their roles; not the `tail` of rank 0's log."""
        members = []
        try:
            child = psutil.Process(self._child.pid)
            if not self._is_msrun:
                return [(child, "MS_WORKER")]
            children = child.children()
        except psutil.NoSuchProcess:
            return []
        for process in children:
            if process.pid not in self._roles:
                try:
                    is_tail, role = _is_tail(process), process.environ().get("MS_ROLE", "")
                except psutil.Error:  # a zombie, or just ended
                    continue
                if role and not is_tail:  # before its exec, a child has msrun's environment, which has no role
                    self._roles[process.pid] = role
            if process.pid in self._roles:
                members.append((process, self._roles[process.pid]))
        return members

    def _ask_to_stop(self) -> None:
        """Once each, as they appear: not the scheduler, which must outlive them."""
        for process in self._workers():
            if process.pid not in self._asked:
                self._asked.add(process.pid)
                try:
                    process.send_signal(signal.SIGTERM)
                except psutil.NoSuchProcess:
                    pass

    def _check(self, has_failed) -> None:
        """End the job if a process is stopped or a worker failed; let the workers save if the scheduler is gone."""
        now, workers = time.monotonic(), 0
        for process, role in self._members():
            try:
                status = process.status()
            except psutil.NoSuchProcess:
                continue
            if status == psutil.STATUS_ZOMBIE:
                # It ends well when all workers have left the cluster, long before the last of them has ended.
                self._lost_scheduler |= role == "MS_SCHED" and _exit_code(process.pid) != 0
                continue
            workers += role == "MS_WORKER"
            if status != psutil.STATUS_STOPPED:
                self._since.pop(process.pid, None)
            elif now - self._since.setdefault(process.pid, now) > STOPPED_SECONDS:
                self._end_stopped(process, role)
        if not workers and has_failed():  # msrun would wait for heartbeats of the dead workers
            _kill(_started_by_this_launcher())
        if self._lost_scheduler and workers and not self.was_stopped:
            if now - self._since.setdefault("scheduler", now) > GONE_SECONDS:
                self._report("the scheduler of the job was killed; the workers save and stop")
                self.was_stopped = True

    def _end_stopped(self, process: psutil.Process, role: str) -> None:
        if role == "MS_SCHED":
            _kill([process])  # the workers need it no more
            self._report("the scheduler of the job is stopped (SIGSTOP); the workers save and stop")
            self.was_stopped = True
            return
        if self.failure is None:
            self.failure = (
                f"a worker (process {process.pid}) is stopped (SIGSTOP) and the others wait for it: ended the job"
            )
            self._report(self.failure)
        _kill(self._workers())

    def _report(self, text: str) -> None:
        print(f"{ERROR_PREFIX}{text}", file=sys.stderr, flush=True)

    def _end_leftovers(self) -> None:
        """What `msrun` left behind, if somebody killed it: workers end by themselves (see lifeline.py), or by force."""
        if not self._is_msrun:
            return
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while left := _started_by_this_launcher():
            _kill(left if time.monotonic() > deadline else [process for process in left if _is_tail(process)])
            self._pass_on()


def _is_tail(process: psutil.Process) -> bool:
    """Whether this is `msrun`'s `tail` of rank 0's log, which never ends by itself."""
    try:
        return os.path.basename((process.cmdline() or [""])[0]) == "tail"
    except psutil.NoSuchProcess:
        return False


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _exit_code(pid: int) -> int:
    """How a zombie ended, as `waitpid` would report it; 0 if the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[49])
    except (OSError, IndexError):
        return 0


def _started_by_this_launcher() -> list[psutil.Process]:
    found, launcher = [], identity()
    for process in psutil.process_iter():
        try:
            if process.environ().get(LAUNCHER) == launcher and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found
