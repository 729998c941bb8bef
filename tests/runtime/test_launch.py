"""The launcher: its msrun line, and how a job ends that fails, is stopped, or has nothing to work on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lightclip_ms.runtime import launch, npus
from lightclip_ms.runtime.exits import EXIT_BAD_INPUT, EXIT_STOPPED
from tests import ROOT


def test_one_machine_takes_a_free_port_and_shows_rank_0():
    command = launch.msrun_command(["train.py", "--config", "x"], 4, Path("logs"), {})
    assert {"--worker_num=4", "--local_worker_num=4", "--log_dir=logs", "--join=True", "--tail_worker_log=0"} <= set(
        command
    )
    assert command[-4:] == ["python", "train.py", "--config", "x"]
    port = next(part for part in command if part.startswith("--master_port="))
    assert int(port.partition("=")[2]) > 1024


def test_several_machines_share_an_address_and_have_a_rank_each():
    environ = {"NNODES": "3", "NODE_RANK": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "8118"}
    command = launch.msrun_command(["train.py"], 8, Path("logs"), environ)
    assert {
        "--worker_num=24",
        "--local_worker_num=8",
        "--master_addr=10.0.0.1",
        "--master_port=8118",
        "--node_rank=2",
        "--tail_worker_log=16",
    } <= set(command)
    del environ["MASTER_ADDR"]
    with pytest.raises(ValueError, match="NNODES=3 needs MASTER_ADDR"):
        launch.msrun_command(["train.py"], 8, Path("logs"), environ)


@pytest.fixture
def eight_cards(monkeypatch):
    nodes = [*(f"/dev/davinci{card}" for card in range(8)), "/dev/davinci_manager"]
    monkeypatch.setattr(npus.glob, "glob", lambda pattern: nodes)


def test_npus_are_counted_by_their_device_nodes(eight_cards):
    assert launch.default_devices("auto") == launch.default_devices("ascend") == 8
    assert launch.default_devices("gpu") == 1
    assert launch.default_devices("cpu") == min(2, os.cpu_count())


def test_only_visible_cards_count_and_more_processes_are_refused(eight_cards, monkeypatch):
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "4, 5,6,7")
    assert npus.visible_npus() == [4, 5, 6, 7] and launch.default_devices("auto") == 4
    npus.check_devices(4, "auto")
    npus.check_devices(9, "cpu")
    with pytest.raises(ValueError, match=r"5 processes need as many NPUs, but 4 are visible \(ASCEND_RT_"):
        npus.check_devices(5, "ascend")
    for wrong in ("0,8", "1,1", "0-3"):
        monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", wrong)
        with pytest.raises(ValueError, match=r"must be different ids of this machine's cards \(0,1,2,3"):
            npus.visible_npus()
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match="device: ascend, but no NPU is visible"):
        launch.default_devices("ascend")


def test_ranks_on_cards_are_bound_to_cores():
    assert "--bind_core=True" in launch.msrun_command(["x.py"], 8, Path("logs"), {}, bind_cores=True)
    assert "--bind_core=True" not in launch.msrun_command(["x.py"], 8, Path("logs"), {})


def _launch(tmp_path, script: str, workers: int = 2, **variables: str) -> subprocess.Popen:
    """A launcher of `workers` that run `script`, with more environment `variables`."""
    (tmp_path / "worker.py").write_text(script)
    code = (
        f"import sys; from lightclip_ms.runtime.launch import launch; "
        f"sys.exit(launch([{str(tmp_path / 'worker.py')!r}], {workers}, {str(tmp_path)!r}, 'cpu'))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=tmp_path,
    )


PREAMBLE = """
import os, sys, time, signal
import lightclip_ms
from lightclip_ms.runtime import backend, parallel
from tests import ROOT
backend.prepare_device("cpu")
rank, world_size = parallel.init()
print("joined", rank, flush=True)
"""


def test_a_failing_rank_ends_the_job_within_30_seconds_and_is_shown(tmp_path):
    job = _launch(tmp_path, PREAMBLE + "if rank == 1: raise RuntimeError('the reason')\ntime.sleep(300)\n")
    output, error = job.communicate(timeout=200)
    ended = time.time()
    assert job.returncode == 1
    assert "worker_1.log" in error and "RuntimeError: the reason" in error
    assert ended - (tmp_path / "logs/worker_1.log").stat().st_mtime < 30


def test_two_nodes_on_one_machine_form_one_job(tmp_path):
    """As in docs/training.md: msrun starts its scheduler where MASTER_ADDR is the machine's own; 0.0.0.0 is not."""
    script = PREAMBLE + "print('numbers', parallel.gather_number(rank + 0.5, world_size), flush=True)\n"
    port = str(launch.free_port())
    nodes = [
        _launch(tmp_path, script, 1, NNODES="2", NODE_RANK=str(node), MASTER_ADDR=address, MASTER_PORT=port)
        for node, address in enumerate(("127.0.0.1", "0.0.0.0"))
    ]
    for node in nodes:
        _, error = node.communicate(timeout=200)
        assert node.returncode == 0, error
    logs = [(tmp_path / f"logs/worker_{rank}.log").read_text() for rank in range(2)]
    assert all("numbers [0.5, 1.5]" in log for log in logs)
    assert (tmp_path / "logs/msrun_0.log").exists() and (tmp_path / "logs/msrun_1.log").exists()


def test_wrong_input_is_said_once_with_its_exit_code(tmp_path):
    job = _launch(tmp_path, PREAMBLE + "print('error: no such thing', file=sys.stderr); sys.exit(2)\n")
    _, error = job.communicate(timeout=200)
    assert job.returncode == EXIT_BAD_INPUT and error.count("error: no such thing") == 1


SAVES = """
def stop(number, frame):
    open(f"saved_{rank}", "w").close()
    parallel.wait_for_all(world_size)
    print("stopped on request", flush=True)
    os._exit(75)
signal.signal(signal.SIGTERM, stop)
open(f"ready_{rank}", "w").close()
while True: time.sleep(0.1)
"""


def _wait_until_ready(job, tmp_path):
    deadline = time.time() + 120
    while len(list(tmp_path.glob("ready_*"))) < 2:
        assert time.time() < deadline and job.poll() is None
        time.sleep(0.2)


def _processes(tmp_path) -> list[str]:
    """Command lines that name the worker's script or its logs."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [" ".join(line) for line in lines if any(word.startswith(f"{tmp_path}/") for word in line)]


@pytest.mark.parametrize("request_to_stop", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_reaches_the_workers_which_may_save(tmp_path, request_to_stop):
    job = _launch(tmp_path, PREAMBLE + SAVES)
    _wait_until_ready(job, tmp_path)
    job.send_signal(request_to_stop)
    job.communicate(timeout=100)
    assert job.returncode == EXIT_STOPPED
    assert sorted(path.name for path in tmp_path.glob("saved_*")) == ["saved_0", "saved_1"]
    assert sorted(os.listdir(tmp_path / "logs")) == ["msrun_0.log", "scheduler.log", "worker_0.log", "worker_1.log"]
    assert not list(tmp_path.glob("*.lock"))


def test_workers_whose_launcher_was_killed_save_and_end_within_30_seconds(tmp_path):
    job = _launch(tmp_path, PREAMBLE + SAVES)
    _wait_until_ready(job, tmp_path)
    assert len(_processes(tmp_path)) > 4  # launcher, msrun, scheduler, two workers
    job.kill()
    job.wait()
    deadline = time.time() + 30
    while left := _processes(tmp_path):
        assert time.time() < deadline, left
        time.sleep(0.2)
    assert sorted(path.name for path in tmp_path.glob("saved_*")) == ["saved_0", "saved_1"]


def test_a_refused_command_leaves_the_logs_of_the_last_run(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/worker_0.log").write_text("the last run's")
    job = _launch(tmp_path, "import sys; print('error: no such thing', file=sys.stderr); sys.exit(2)\n")
    _, error = job.communicate(timeout=200)
    assert job.returncode == EXIT_BAD_INPUT and error == "error: no such thing\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "worker.py"]
    assert (tmp_path / "logs/worker_0.log").read_text() == "the last run's"
