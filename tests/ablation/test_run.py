"""Running a grid without training: order, resumption, failures, the files of the report."""

import json
import runpy
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from lightclip_ms.ablation import run
from lightclip_ms.ablation.grid import read_grid
from tests import ROOT
from tests.ablation.test_grid import write

SCORES = {
    "metric": "mean recall",
    "details": {},
    "parameters": 1_000_000,
    "training_parameters": 1_500_000,
    "images_per_second": 50.0,
    "memory_mb": 2000,
}


@pytest.fixture
def calls(monkeypatch):
    """What was started, with processes that only write scores; `calls.fail` names a folder whose training fails."""

    class Calls(list):
        fail = ""

    made = Calls()
    lock = threading.Lock()

    def call(self, arguments, log):
        with lock:
            made.append((log.parent.name, "train" if arguments[0].endswith("train.py") else "evaluate", arguments))
        if made[-1][1] == "train" and made.fail and made.fail == log.parent.name:
            raise run.CellFailed(f"{log}: ended with code 1: out of memory")
        if arguments[0] == "-m":
            value = 10.0 + 5 * ("Soft" in log.parent.name)
            Path(arguments[-1]).write_text(
                json.dumps({"value": value, "per_picture": [value - 1, value + 1], **SCORES})
            )

    monkeypatch.setattr(run.Runner, "_call", call)
    return made


@pytest.fixture
def start(monkeypatch, capsys):
    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["ablate.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "scripts" / "ablate.py"), run_name="__main__")
        return ended.value.code or 0, capsys.readouterr()

    return go


def test_a_grid_runs_cell_after_cell_and_again_runs_nothing(tmp_path, calls, start):
    grid, out = write(tmp_path), tmp_path / "out"
    code, printed = start(grid, "--out", out, "--dry-run")
    assert code == 0 and not calls and not out.exists()
    assert "0 of 8 cells are finished" in printed.out and "about 24 minutes, as the grid says (3" in printed.out
    code, printed = start(grid, "--out", out, "train.epochs=1")
    assert code == 0 and "8 of 8 cells" in printed.out
    assert [kind for _, kind, _ in calls] == ["train", "evaluate"] * 8
    arguments = calls[0][2]
    assert "train.epochs=1" in arguments and f"output_dir={out / 'CLIP_A_seed0'}" in arguments
    report = (out / "report.md").read_text()
    assert "| A | CLIP | 10.00 | 0.00 | 10.00, 10.00 |  |  | 1.00 |  | 2.0 GB | 1.00 M (1.50 M) |" in report
    assert "| B | + Soft | 15.00 | 0.00 | 15.00, 15.00 | +5.00 | +5.00 to +5.00 |" in report
    assert len((out / "report.csv").read_text().splitlines()) == 9
    assert len(json.loads((out / "report.json").read_text())["results"]) == 4
    assert Image.open(out / "report.png").width > 300
    calls.clear()
    assert start(grid, "--out", out, "train.epochs=1")[0] == 0 and not calls
    code, printed = start(grid, "--out", out, "train.epochs=2")
    assert code == 2 and "made with other settings" in printed.err and not calls


def test_cells_of_a_version_with_fewer_keys_stay(tmp_path, calls, start):
    grid, out = write(tmp_path), tmp_path / "out"
    start(grid, "--out", out)
    for path in out.glob("*/cell.json"):
        cell = json.loads(path.read_text())
        del cell["made_of"]["config"]["loss"]["queue_size"]
        path.write_text(json.dumps(cell))
    calls.clear()
    assert start(grid, "--out", out)[0] == 0 and not calls
    cell["made_of"]["config"]["loss"]["of_long_ago"] = 1
    path.write_text(json.dumps(cell))
    code, printed = start(grid, "--out", out)
    assert code == 2 and "made with other settings" in printed.err and not calls


def test_a_failure_keeps_what_is_finished_and_the_same_command_continues(tmp_path, calls, start):
    grid, out = write(tmp_path), tmp_path / "out"
    calls.fail = "CLIP_B_seed0"
    code, printed = start(grid, "--out", out)
    assert code == 1 and "cell.log: ended with code 1: out of memory" in printed.err
    assert len(calls) == 5 and len(list(out.glob("*/cell.json"))) == 2
    calls.clear()
    calls.fail = ""
    code, printed = start(grid, "--out", out, "--parallel", 2)
    assert code == 0 and "2 of 8 cells are finished" in printed.out and "as the finished ones" in printed.out
    assert len(calls) == 12 and len(list(out.glob("*/cell.json"))) == 8


def test_a_cell_that_was_trained_is_only_evaluated(tmp_path, calls):
    grid, out = read_grid(write(tmp_path)), tmp_path / "out"
    trained = out / grid.cells()[0].folder
    trained.mkdir(parents=True)
    (trained / "trained.json").write_text('{"seconds": 61.0}')
    run.Runner(grid, str(out), devices=2).run(lambda results: None)
    assert [kind for folder, kind, _ in calls if folder == trained.name] == ["evaluate"]
    assert run.read_results(grid, str(out))[trained.name]["seconds"] == 61.0
    assert all("--devices" in arguments for _, kind, arguments in calls if kind == "train")


def test_a_process_that_fails_is_named_with_its_last_line(tmp_path):
    runner = run.Runner(read_grid(write(tmp_path)), str(tmp_path))
    log = tmp_path / "cell.log"
    with pytest.raises(run.CellFailed, match="cell.log: ended with code 3: broken"):
        runner._call(["-c", "import sys; print('broken'); sys.exit(3)"], log)
    runner._call(["-c", "print('fine')"], log)
    assert log.read_text() == "broken\nfine\n"


def test_a_stop_ends_the_processes_under_way(tmp_path):
    runner = run.Runner(read_grid(write(tmp_path)), str(tmp_path))
    timer = threading.Timer(1.0, runner.stop)
    timer.start()
    with pytest.raises(run.CellFailed, match="code -15"):
        runner._call(["-c", "import time; time.sleep(60)"], tmp_path / "cell.log")
    assert not runner._work(runner.grid.cells()[0]) and not (tmp_path / runner.grid.cells()[0].folder).exists()
