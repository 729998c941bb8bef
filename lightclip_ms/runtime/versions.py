"""What a result depends on besides its configuration."""

import platform
import subprocess
from pathlib import Path

import mindspore as ms
import numpy as np

import lightclip_ms


def versions() -> dict[str, str]:
    """Versions of everything that may change a number, and the source's git revision where there is one."""
    try:
        shown = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        revision = shown.stdout.strip()
    except OSError:  # a machine without git
        revision = ""
    return {
        "lightclip_ms": lightclip_ms.__version__,
        "mindspore": ms.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "git": revision or "not a git checkout",
    }
