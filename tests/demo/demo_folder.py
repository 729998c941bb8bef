"""Small demo data, built once for all test modules that need it."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from lightclip_ms.demo.build import Settings, build_demo_data

SETTINGS = Settings(train=1040, retrieval=60, seed=3)


@functools.lru_cache(maxsize=1)
def demo_folder() -> Path:
    root = tempfile.mkdtemp(prefix="demo-data-")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    assert build_demo_data(Path(root, "data"), SETTINGS, workers=2)
    return Path(root, "data")
