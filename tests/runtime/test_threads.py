"""Kernels run on as many threads as OMP_NUM_THREADS says; MindSpore alone would take two at least."""

import os
import subprocess
import sys

import pytest

from tests import ROOT

CODE = """
from pathlib import Path
import numpy as np
from lightclip_ms.runtime import backend
backend.prepare_device("cpu")
from mindspore import Tensor, nn
nn.Dense(256, 256)(Tensor(np.ones((256, 256), np.float32))).asnumpy()
print(sum(path.read_text().startswith("KernelThread") for path in Path("/proc/self/task").glob("*/comm")))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="counts threads in /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_run_on_the_threads_they_are_given(threads):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    # The thread that runs the graph computes, too.
    assert int(done.stdout) == min(threads, os.cpu_count()) - 1
