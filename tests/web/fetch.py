"""python -m tests.web.fetch: download onnxruntime-web to where the tests of the page look for it."""

from lightclip_ms.web.runtime import check_runtime, fetch_runtime
from tests.web.conftest import RUNTIME

if __name__ == "__main__":
    try:
        check_runtime(RUNTIME)
    except FileNotFoundError:
        fetch_runtime(RUNTIME)
