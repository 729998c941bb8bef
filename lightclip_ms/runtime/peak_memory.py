"""The most memory this process held so far."""

import re
from pathlib import Path


def peak_megabytes() -> float:
    """Peak resident memory in MB (10^6 bytes).

    Not `ru_maxrss`: that one starts with what the process had before `exec`, a copy of its parent.
    """
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6
