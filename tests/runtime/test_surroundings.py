"""Odd surroundings: closed pipes, full disks, poor terminals, leftover cluster variables, other versions."""

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

from lightclip_ms.runtime import cluster_variables, requirements
from lightclip_ms.runtime.exits import EXIT_BAD_INPUT
from tests import ROOT

SCRIPT = """
import sys
from lightclip_ms.runtime.exits import main_guard
@main_guard
def main():
    for number in range(20000):
        print("line", number, "caf\\xe9 \\udcff")
    open(sys.argv[1], "w").write("the work is done")
main()
"""


def run(tmp_path, shell: str, **variables: str) -> subprocess.CompletedProcess:
    """`shell` with $SCRIPT for the command."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = f"'{sys.executable}' '{tmp_path}/script.py' '{tmp_path}/done'"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    line = f"set -o pipefail; {shell.replace('$SCRIPT', command)}"
    return subprocess.run(["bash", "-c", line], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("shell", ["$SCRIPT | head -n 1", "$SCRIPT >&-", "$SCRIPT >&- 2>&- <&-", "$SCRIPT 2>&1 | true"])
def test_a_closed_output_does_not_stop_the_work(tmp_path, shell):
    done = run(tmp_path, shell)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "done").read_text() == "the work is done"


def test_a_full_disk_behind_the_output_is_one_line(tmp_path):
    done = run(tmp_path, "$SCRIPT > /dev/full")
    assert done.returncode == EXIT_BAD_INPUT
    assert done.stderr == "error: /dev/full: could not be written: No space left on device\n"
    assert run(tmp_path, "$SCRIPT > /dev/full 2> /dev/full").returncode == EXIT_BAD_INPUT


def test_a_terminal_of_another_encoding_gets_escapes(tmp_path):
    done = run(tmp_path, "$SCRIPT", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.startswith("line 0 caf\\xe9 \\udcff\nline 1 ")
    assert run(tmp_path, "$SCRIPT | head -n 1", PYTHONIOENCODING="utf-8").stdout == "line 0 café \\udcff\n"


LEFTOVERS = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "4", "MS_SCHED_HOST": "10.0.0.1", "MS_SCHED_PORT": "8118"}


@pytest.mark.parametrize(
    "leftovers",
    [LEFTOVERS, {"MS_ROLE": "MS_SCHED"}, {"MS_WORKER_NUM": "2", "RANK_ID": "1"}],
)
def test_leftover_cluster_variables_are_named_and_dropped(leftovers, capsys):
    environ = {"HOME": "/root", **leftovers}
    assert cluster_variables.drop_leftovers(environ) == list(leftovers)
    assert environ == {"HOME": "/root"}
    said = capsys.readouterr().err
    assert said.startswith(f"ignoring {', '.join(leftovers)} of the environment: ") and said.count("\n") == 1
    assert cluster_variables.drop_leftovers(environ) == [] and capsys.readouterr().err == ""


def test_variables_that_msrun_set_stay(monkeypatch):
    monkeypatch.setattr(cluster_variables, "started_by_msrun", lambda: True)
    environ = dict(LEFTOVERS)
    assert cluster_variables.drop_leftovers(environ) == [] and environ == LEFTOVERS


@pytest.mark.parametrize("role", ["MS_WORKER", "MS_SCHED"])
def test_a_command_with_leftovers_goes_its_way(tmp_path, role):
    command = [sys.executable, ROOT / "scripts/train.py", "--config", ROOT / "configs/demo.yaml", "device=cpu"]
    done = subprocess.run(
        [*command, f"output_dir={tmp_path / 'run'}", "data.train=none.csv", "data.val="],
        env={**os.environ, "PYTHONPATH": str(ROOT), **LEFTOVERS, "MS_ROLE": role},
        capture_output=True,
        text=True,
        timeout=300,
    )
    first, last = done.stderr.splitlines()
    assert done.returncode == EXIT_BAD_INPUT and first.startswith("ignoring MS_ROLE, ") and "none.csv" in last
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name, version, command",
    [
        ("numpy", "2.4.6", '-m pip install "numpy>=1.25,<2"'),
        ("numpy", "1.24.4", '-m pip install "numpy>=1.25,<2"'),
        ("mindspore", "2.9.1", '-m pip install "mindspore>=2.10,<2.11"'),
        ("mindspore", "2.11.0rc1", '-m pip install "mindspore>=2.10,<2.11"'),
        ("mindspore", "nightly", '-m pip install "mindspore>=2.10,<2.11"'),
    ],
)
def test_other_versions_are_named_with_the_command_that_mends_it(monkeypatch, name, version, command):
    right = requirements._version
    monkeypatch.setattr(requirements, "_version", lambda asked: version if asked == name else right(asked))
    with pytest.raises(requirements.UnsupportedEnvironment) as caught:
        requirements.check_requirements()
    assert str(caught.value).startswith(f"{name} {version} is not supported; run: ") and command in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ImportError, match="mindspore is not installed; run: "):
        requirements.check_requirements()


def test_the_supported_versions_are_those_of_requirements_txt():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    for name, (first, beyond) in requirements.SUPPORTED.items():
        written = next(re.match(r"[\w.]+(\S*)", line)[1] for line in lines if line.startswith(f"{name}>"))
        assert written == f">={'.'.join(map(str, first))},<{'.'.join(map(str, beyond))}"
    requirements.check_requirements()


def test_a_script_with_another_numpy_ends_with_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import numpy; numpy.__version__ = '2.4.6'")
    command = [sys.executable, ROOT / "scripts/train.py", "--config", ROOT / "configs/demo.yaml", "data.train=x.csv"]
    for more in ([], ["--devices", "2"]):
        done = subprocess.run(
            [*command, f"output_dir={tmp_path / 'run'}", *more],
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == EXIT_BAD_INPUT and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("error: numpy 2.4.6 is not supported; run: ")
