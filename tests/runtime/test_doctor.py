"""The checks before a run: what is missing is said with what to do."""

import os
import subprocess
import sys

import pytest

from lightclip_ms.commands import doctor as command
from lightclip_ms.runtime import doctor, npus
from tests import ROOT


def advice(findings) -> dict[str, str]:
    return {finding.name: finding.advice for finding in findings if finding.advice}


@pytest.fixture
def ascend_machine(monkeypatch, tmp_path):
    """A machine with two cards, a driver and CANN, as far as files and variables go."""
    monkeypatch.setattr(npus.glob, "glob", lambda pattern: ["/dev/davinci0", "/dev/davinci1"])
    driver = tmp_path / "version.info"
    driver.write_text("Version=25.2.0\nascendhal_version=7\n")
    monkeypatch.setattr(doctor, "DRIVER", driver)
    monkeypatch.setattr(doctor, "_compiler", lambda: doctor.Finding("CANN's Python", "te"))
    return {name: str(tmp_path) for name in ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")}


def test_a_sound_machine_needs_nothing(ascend_machine, tmp_path):
    findings = doctor.examine("auto", str(tmp_path / "runs/new"), ascend_machine)
    assert not set(advice(findings)) - {"free disk", "/dev/shm", "open files"}  # those are this machine's
    found = {finding.name: finding.found for finding in findings}
    assert found["NPUs"] == "2 of 2 visible: 0,1" and found["driver"] == "Version=25.2.0"
    assert found["output folder"] == str(tmp_path)  # nothing is made


@pytest.mark.parametrize(
    "changes, name, expected",
    [
        ({"ASCEND_HOME_PATH": ""}, "CANN", "set_env.sh"),
        ({"ASCEND_OPP_PATH": ""}, "CANN", "ASCEND_OPP_PATH missing"),
        ({"RANK_TABLE_FILE": "hccl.json"}, "rank table", "unset RANK_TABLE_FILE"),
        ({"MS_ROLE": "MS_WORKER"}, "MS_ROLE", "unset MS_ROLE"),
        ({"ASCEND_RT_VISIBLE_DEVICES": "0,7"}, "NPUs", "must be different ids"),
        ({"ASCEND_RT_VISIBLE_DEVICES": ""}, "NPUs", "unset ASCEND_RT_VISIBLE_DEVICES"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(ascend_machine, tmp_path, changes, name, expected):
    findings = doctor.examine("ascend", str(tmp_path), {**ascend_machine, **changes})
    assert expected in advice(findings)[name]


def test_packages_that_cann_needs_are_looked_for_in_this_python():
    finding = doctor._compiler()  # no CANN here
    assert "No module named" in finding.found and "requirements-ascend.txt" in finding.advice
    assert sys.executable in finding.advice


def test_a_machine_without_cards_is_told_so_if_it_should_have_some(tmp_path):
    assert "install driver" in advice(doctor.examine("ascend", str(tmp_path), {}))["NPUs"]
    assert not {"NPUs", "CANN"} & {finding.name for finding in doctor.examine("cpu", str(tmp_path), {})}


def test_the_ranks_of_this_machine_meet(tmp_path):
    arguments = [sys.executable, str(ROOT / "scripts/doctor.py"), "--device", "cpu", "--output-dir", str(tmp_path)]
    done = subprocess.run([*arguments, "--ranks", "2"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "2 rank(s) on CPU met" in done.stdout, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("collective") and lines[-1].endswith("ok")
    checks = lines[: next(number for number, line in enumerate(lines) if line.startswith("free port"))]
    assert done.returncode == int(not all(line.endswith("ok") for line in checks))  # the disk may be nearly full


@pytest.mark.parametrize(
    "lacking, last",
    [
        (doctor.Finding("free disk", "17 GB", "free 20 GB", is_reserve=True), "2 rank(s)"),
        (doctor.Finding("CANN", "not set", "source set_env.sh"), "not tried"),
    ],
)
def test_ranks_meet_on_a_machine_that_is_only_short_of_reserves(tmp_path, monkeypatch, capsys, lacking, last):
    launched = []
    monkeypatch.setattr(command, "examine", lambda device, output_dir: [lacking])
    monkeypatch.setattr(command, "launch", lambda script, ranks, folder, device: launched.append(ranks) or 0)
    monkeypatch.setattr(sys, "argv", ["doctor", "--device", "cpu", "--output-dir", str(tmp_path), "--ranks", "2"])
    assert command.main() == 1  # something is lacking, so a script that asks does not start a run
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("collective") and last in line
    assert launched == ([2] if lacking.is_reserve else [])


def test_the_launch_scripts_refuse_a_python_that_cann_cannot_use():
    script = 'set -euo pipefail; ROOT=$PWD; source scripts/find_python.sh; echo "$PYTHON"'
    # This Python has the requirements, so nothing is installed.
    environ = {**os.environ, "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}
    done = {
        device: subprocess.run(
            ["bash", "-c", script, "bash", f"device={device}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environ,
        )
        for device in ("ascend", "cpu")
    }
    assert done["cpu"].returncode == 0 and done["cpu"].stdout.count("\n") == 1
    error = done["ascend"].stderr
    assert done["ascend"].returncode == 2 and error.count("\n") == 1
    assert error.startswith("error: CANN cannot compile operators") and "No module named 'te'" in error
    assert "pip install -r" in error and "set_env.sh" in error
