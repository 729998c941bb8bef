"""Every test runs as users do: the package prepares the process first, in graph mode on the CPU backend."""

import pytest

import lightclip_ms  # noqa: F401  before any test module loads MindSpore
from lightclip_ms.runtime import backend


@pytest.fixture(autouse=True, scope="session")
def _graph_mode_on_cpu():
    backend.prepare_device("cpu")
