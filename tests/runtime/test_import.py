"""Importing the package is silent, leaves nothing behind, and prepares the process without overruling the user."""

import os
import subprocess
import sys

import pytest

from lightclip_ms.runtime import backend


def run(code: str, folder, **environ) -> subprocess.CompletedProcess:
    clean = {
        name: value for name, value in os.environ.items() if name not in ("GLOG_v", "MS_OM_PATH", "ONEDNN_MAX_CPU_ISA")
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False, env={**clean, **environ}
    )


def test_import_prints_nothing_loads_no_mindspore_and_leaves_no_files(tmp_path):
    done = run("import sys, lightclip_ms; sys.exit('mindspore' in sys.modules)", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []


USES_ROOMS = """
import importlib, os, pkgutil, signal, warnings
import cv2

def state():
    ours = [entry for entry in warnings.filters if "PIL" in str(entry)]
    return cv2.getNumThreads(), ours, signal.getsignal(signal.SIGTERM), os.getcwd()

before, environ = state(), dict(os.environ)
import lightclip_ms
from lightclip_ms import config, data
names = [f"{room.__name__}.{module.name}" for room in (config, data) for module in pkgutil.iter_modules(room.__path__)]
for name in names:
    importlib.import_module(name)
assert state() == before, (state(), before)
changed = {key for key in os.environ if os.environ[key] != environ.get(key)}
print(len(names) > 20, sorted(changed - {"ONEDNN_MAX_CPU_ISA", "GLOG_v", "MS_OM_PATH"}))
"""


def test_importing_leaves_the_settings_of_the_users_program_alone(tmp_path):
    """Only the environment variables of `prepare_environment` change."""
    done = run(USES_ROOMS, tmp_path)
    assert (done.returncode, done.stdout) == (0, "True []\n"), done.stderr


def test_a_model_used_at_module_level_prints_nothing_at_exit(tmp_path):
    code = (
        "import lightclip_ms; from lightclip_ms.config.schema import ModelConfig\n"
        "model = lightclip_ms.create_model(lightclip_ms.config.presets.preset('lightclip_demo'))\n"
        "print(model.text.width)"
    )
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "128\n", "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("flags, expected", [("fpu avx2", None), ("fpu avx2 avx512f", "AVX2")])
def test_convolutions_are_capped_only_where_the_processor_needs_it(monkeypatch, flags, expected):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(backend, "_cpu_flags", lambda: frozenset(flags.split()))
    backend.prepare_environment()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == expected


def test_what_the_user_set_stays(tmp_path):
    done = run(
        "import os, lightclip_ms; print(os.environ['GLOG_v'], os.environ['MS_OM_PATH'])",
        tmp_path,
        GLOG_v="1",
        MS_OM_PATH="mine",
    )
    assert done.stdout == "1 mine\n"


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device: MindSpore .* finds no Ascend here; use device=auto or device=cpu"):
        backend.prepare_device("ascend")
    with pytest.raises(ValueError, match="device: 'tpu' is unknown; use one of auto, ascend, gpu, cpu"):
        backend.prepare_device("tpu")
