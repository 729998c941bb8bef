"""One browser for all tests of the page; skipped without Chromium or, where it is needed, onnxruntime-web."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightclip_ms.web.runtime import FOLDER, check_runtime
from lightclip_ms.web.server import open_server
from tests import ROOT
from tests.web import chromium

RUNTIME = ROOT / "build" / FOLDER  # .ci/run puts it there, as tests/web/fetch.py does for anybody


@pytest.fixture(scope="session")
def browser():
    if chromium.COMMAND is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    with chromium.Chromium() as running:
        yield running


@pytest.fixture(scope="session")
def runtime() -> Path:
    try:
        check_runtime(RUNTIME)
    except FileNotFoundError:
        pytest.skip(f"no onnxruntime-web in {RUNTIME}: python -m tests.web.fetch")
    return RUNTIME


@pytest.fixture(scope="session")
def serve():
    """A context manager that serves routes and gives the address, which ends with a slash."""

    @contextmanager
    def serving(routes):
        with open_server(routes) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}/"
            server.shutdown()

    return serving
