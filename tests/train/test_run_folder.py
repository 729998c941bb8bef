"""What a run leaves in its folder, and how it ends when it cannot go on."""

import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from lightclip_ms.config.loss import LossConfig
from lightclip_ms.config.schema import Config
from lightclip_ms.model import factory
from lightclip_ms.runtime.exits import EXIT_STOPPED
from lightclip_ms.train.checkpoint import CheckpointFolder
from lightclip_ms.train.progress import progress_line
from lightclip_ms.train.run_folder import RunFolder
from lightclip_ms.train.step_records import is_sound
from lightclip_ms.train.terms.term import make_terms
from tests import ROOT
from tests.data.data_files import encode, picture, write_tar
from tests.train.tiny_training import METRICS, MODEL

TINY = [
    "model.image_options={width: 8, depths: [1, 1, 1, 1], last_stride: 1}",
    "model.embed_dim=32",
    "model.vocab_size=600",
    "model.text_width=32",
    "model.text_heads=2",
    "train.batch_size=8",
    "train.epochs=2",
    "device=cpu",
]
RECORD = {"step": 1, "epoch": 0, "lr": 1e-3, **dict.fromkeys(METRICS, 1.0), "overflow": 0.0}


def start(*overrides) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/train.py", "--config", ROOT / "configs/demo.yaml", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def train(*overrides) -> subprocess.CompletedProcess:
    process = start(*overrides)
    output, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    members = [
        member
        for number in range(16)
        for member in (
            (f"{number:02d}.jpg", encode(picture(number))),
            (f"{number:02d}.txt", f"a cat and {number} dogs".encode()),
        )
    ]
    return write_tar(tmp_path_factory.mktemp("pairs") / "pairs.tar", members)


@pytest.fixture(scope="module")
def run(shard, tmp_path_factory):
    """(folder, output) of a run of four steps and two evaluations."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    data = (f"data.train={shard}", f"data.val={shard}")
    done = train(*TINY, *data, f"output_dir={folder}", "train.profile_steps=[2, 3]")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_folder_holds_what_the_documentation_lists(run):
    table = (ROOT / "docs/training.md").read_text().partition("## What is in a run's folder")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([\w.]+)/?`", table, re.MULTILINE))
    assert len(documented) > 8 and documented - {"logs"} == set(os.listdir(run[0]))  # one process writes no logs/
    keys = set(json.loads((run[0] / "metrics.jsonl").read_text().splitlines()[-1]))
    assert keys <= set(re.findall(r"`(\w+)`", table)) | {"instance", "token", "mlm"}
    assert Image.open(run[0] / "loss_curves.png").width > 600


def test_a_trace_of_the_steps_that_were_asked_for(run):
    traces = list((run[0] / "profile").rglob("trace_view.json"))
    assert len(traces) == 1
    names = {event.get("name", "") for event in json.loads(traces[0].read_text())}
    assert any("MatMul" in name for name in names)
    assert f"trace of steps 2 to 3 in {run[0] / 'profile'}" in run[1]


def test_a_run_says_how_fast_and_how_large_it_is(run):
    last = json.loads((run[0] / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 4 and 100 < last["memory_mb"] < 8000 and "device_memory_mb" not in last
    assert last["images_per_second"] > 0 and 0 <= last["data_wait"] <= 1 and last["eta_seconds"] == 0
    assert "first step, with compilation" in run[1] and f"memory {last['memory_mb'] / 1e3:.1f} GB" in run[1]
    assert (run[0] / "train.log").read_text() == run[1]
    assert {"epoch", "step", "mean_recall"} <= set(
        json.loads((run[0] / "evaluations.jsonl").read_text().splitlines()[-1])
    )


def test_a_loss_that_is_not_finite_ends_the_run_with_all_that_is_known(shard, tmp_path):
    done = train(
        *TINY,
        f"data.train={shard}",
        "data.val=",
        f"output_dir={tmp_path / 'run'}",
        "train.lr=1.0e+30",
        "train.warmup=0",
        "train.save_steps=1",
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"step [234]: the loss or its gradient is not finite \(loss nan, instance .*loss_scale 1.*\); .*samples "
        r".*pairs\.tar.*; last checkpoint .*step_00000000[123]\.safetensors\n",
        done.stderr,
    ), done.stderr


@pytest.mark.parametrize("request_to_stop", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_saves_the_last_step_within_30_seconds(shard, tmp_path, request_to_stop):
    log = tmp_path / "run/metrics.jsonl"
    process = start(
        *TINY,
        f"data.train={shard}",
        "data.val=",
        f"output_dir={tmp_path / 'run'}",
        "train.epochs=2000",
        "train.log_every=1000",
    )
    while not log.exists() or not log.read_text().count("\n"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(request_to_stop)
    output, error = process.communicate(timeout=30)
    assert process.returncode == EXIT_STOPPED, error
    steps = log.read_text().count("\n")
    assert f"stopped on request after step {steps};" in output
    assert CheckpointFolder(tmp_path / "run/checkpoints").latest()[2]["global_step"] == steps


@pytest.mark.parametrize("devices", ["1", "2"])
def test_a_folder_that_cannot_be_made_is_one_line(shard, tmp_path, devices):
    (tmp_path / "file").write_text("")
    done = train(
        *TINY, f"data.train={shard}", "data.val=", f"output_dir={tmp_path / 'file' / 'run'}", "--devices", devices
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(tmp_path / "file") in done.stderr


def test_a_full_disk_names_the_file(tmp_path):
    folder = RunFolder(str(tmp_path), Config(), 0)
    folder.open_metrics(0)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="metrics.jsonl: could not be written: No space left on device"):
        folder.log([RECORD])


def test_lines_of_lost_steps_go_and_infinities_become_null(tmp_path):
    folder = RunFolder(str(tmp_path), Config(), 0)
    folder.open_metrics(0)
    folder.log([{**RECORD, "step": step, "grad_norm": math.inf} for step in (1, 2, 3)])
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "ep')
    RunFolder(str(tmp_path), Config(), 0).open_metrics(2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["step"] for line in lines] == [1, 2]
    assert json.loads(lines[0])["grad_norm"] is None


def test_other_ranks_write_nothing(tmp_path):
    folder = RunFolder(str(tmp_path / "run"), dataclasses.replace(Config(), output_dir="x"), 1)
    folder.open_metrics(0)
    folder.log([RECORD])
    folder.draw_curves()
    folder.say("nothing")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, sound",
    [
        ({}, True),
        ({"grad_norm": math.inf, "overflow": 1.0, "loss_scale": 65536.0}, True),  # skipped, the scale halves
        ({"grad_norm": math.nan, "overflow": 1.0, "loss_scale": 1.0}, False),  # no smaller scale is left
        ({"grad_norm": math.inf}, False),
        ({"loss": math.nan, "overflow": 1.0, "loss_scale": 65536.0}, False),
    ],
)
def test_what_stops_a_run(changes, sound):
    assert is_sound({**RECORD, **changes}) == sound


def test_the_progress_line_has_every_term_its_advice_and_the_overflows():
    terms = make_terms(factory.create_model(MODEL), LossConfig())
    line = progress_line({**RECORD, "loss_scale": 32768.0, "token": 0.25}, terms, 1, 10, skipped=2)
    assert "(instance 1.0000, token 0.2500, mlm 1.0000)" in line and "loss scale 32768 (2 overflows)" in line
    assert "loss scale" not in progress_line(RECORD, terms, 1, 10)
    assert "no row for 20% of masked tokens" in progress_line({**RECORD, "mlm_left_out": 0.2}, terms, 1, 10)
    assert "masked tokens" not in progress_line({**RECORD, "mlm_left_out": 0.0}, terms, 1, 10)
