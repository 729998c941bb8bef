"""How a launcher tells a scheduler that was killed from one that has done its work."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lightclip_ms.runtime import lifeline, supervise


@pytest.mark.parametrize(
    "code, ended", [("pass", 0), ("import sys; sys.exit(3)", 3 << 8), ("import time; time.sleep(60)", 9)]
)
def test_the_end_of_a_zombie_is_read(code, ended):
    child = subprocess.Popen([sys.executable, "-c", code])
    if ended == 9:
        child.send_signal(signal.SIGKILL)
    deadline = time.time() + 30
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.time() < deadline
        time.sleep(0.05)
    assert supervise._exit_code(child.pid) == ended
    assert not lifeline.is_alive(f"{child.pid}:1")
    child.wait()
    assert supervise._exit_code(child.pid) == 0


def test_a_process_is_known_by_its_number_and_start():
    assert lifeline.is_alive(lifeline.identity())
    pid, _, started = lifeline.identity().partition(":")
    assert pid == str(os.getpid())
    for other in (f"{pid}:{int(started) + 1}", f"{pid}:", pid, "", "x:1", "None"):
        assert not lifeline.is_alive(other)
