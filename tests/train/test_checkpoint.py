"""The checkpoints of a run: which stay, and which one is the newest good one."""

import os

import numpy as np
import pytest
from safetensors.numpy import save

from lightclip_ms.config.file import from_dict
from lightclip_ms.train.checkpoint import CheckpointFolder
from lightclip_ms.train.event_file import EventFile
from lightclip_ms.train.state import make_header, require_resumable

ARRAYS = {"model/a": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/step": np.array(3, np.int32)}
HEADER = {"kind": "training", "global_step": 3}


def names(folder):
    return sorted(os.listdir(folder.folder))


def name(step: int) -> str:
    return f"step_{step:09d}.safetensors"


def test_the_folder_keeps_the_last_ones_and_passes_over_damaged_ones(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert folder.latest() is None
    for step in (5, 10, 100):
        folder.write(step, ARRAYS, {**HEADER, "global_step": step})
    assert [path.name for path in folder.paths()] == [name(10), name(100)]
    folder.paths()[-1].write_bytes(b"cut")
    warnings = []
    path, _, header = folder.latest(warnings.append)
    assert path.name == name(10) and header["global_step"] == 10
    assert len(warnings) == 1 and "step_000000100" in warnings[0]
    assert names(folder) == [name(10), name(100)]  # looking changes nothing


DAMAGE = {
    "cut": lambda path: os.truncate(path, 100),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
    "empty": lambda path: path.write_bytes(b""),
    "null": lambda path: path.write_bytes(b"null"),
    "of another program": lambda path: path.write_bytes(save(ARRAYS)),
    "without a header": lambda path: path.write_bytes(
        save(ARRAYS, {"format": "lightclip_ms", "version": "2", "digest": ""})
    ),
    "without a version": lambda path: path.write_bytes(
        save(ARRAYS, {"format": "lightclip_ms", "header": "{}", "digest": ""})
    ),
    "of 8 bits": lambda path: path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F8_E4M3"')),
    "a folder": lambda path: path.unlink() or path.mkdir(),
    "a link to nowhere": lambda path: path.unlink() or path.symlink_to("nowhere"),
    "a pipe": lambda path: path.unlink() or os.mkfifo(path),
    "of a terabyte": lambda path: os.truncate(path, 10**12),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_cannot_be_read_is_skipped_with_a_line_and_moved_aside_by_the_next_save(tmp_path, what):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.write(100, ARRAYS, HEADER)
    CheckpointFolder(tmp_path, keep=9).write(300, ARRAYS, HEADER)
    DAMAGE[what](tmp_path / name(300))
    warnings = []
    path, _, _ = folder.latest(warnings.append)
    assert path.name == name(100)
    assert len(warnings) == 1 and str(tmp_path / name(300)) in warnings[0] and "\n" not in warnings[0]
    assert folder.write(150, ARRAYS, HEADER).exists()
    assert names(folder) == [name(150), f"{name(300)}.damaged"]
    assert folder.latest()[0].name == name(150)


def test_a_run_that_starts_anew_beside_a_damaged_checkpoint_keeps_what_it_writes(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.write(300, ARRAYS, HEADER)
    DAMAGE["flipped"](tmp_path / name(300))
    assert folder.latest(lambda line: None) is None
    for step in (50, 100):
        assert folder.write(step, ARRAYS, HEADER).exists()
    assert names(folder) == [name(100), f"{name(300)}.damaged"]
    DAMAGE["cut"](tmp_path / name(100))
    folder.latest(lambda line: None)
    folder.write(100, ARRAYS, HEADER)
    folder.write(300, ARRAYS, HEADER)
    DAMAGE["cut"](tmp_path / name(300))
    folder.latest(lambda line: None)
    folder.write(20, ARRAYS, HEADER)
    assert names(folder) == [name(20), f"{name(100)}.damaged", f"{name(300)}.damaged", f"{name(300)}.damaged-1"]


def test_rotation_spares_the_last_good_one_and_what_was_just_written(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.write(300, ARRAYS, HEADER)
    folder.write(50, ARRAYS, HEADER)  # nobody looked for the latest before
    assert names(folder) == [name(50), name(300)]
    folder.write(60, ARRAYS, HEADER)
    assert names(folder) == [name(60), name(300)]


def test_a_header_that_cannot_be_resumed_from_is_skipped(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=9)
    config = from_dict({"output_dir": "/home/me/runs/a", "data": {"train": "/data/x-*.tar", "val": "val.csv"}})
    folder.write(5, ARRAYS, make_header("training", config, 5, 1, ""))
    for step, changes in (
        (6, {"global_step": None}),
        (7, {"world_size": 0}),
        (8, {"config": []}),
        (9, {"global_step": -1}),
    ):
        folder.write(step, ARRAYS, {**make_header("training", config, step, 1, ""), **changes})
    warnings = []
    assert folder.latest(warnings.append, require_resumable)[0].name == name(5)
    assert len(warnings) == 4 and all(str(tmp_path) in line for line in warnings)


def test_an_exported_model_names_no_folder_of_its_machine():
    config = from_dict({"output_dir": "/home/me/runs/a", "data": {"train": "/data/x-*.tar,~/y.csv", "val": "val.csv"}})
    assert "/" in str(make_header("training", config, 5, 1, "")["config"])
    exported = make_header("inference", config, 5, 1, "")["config"]
    assert (exported["output_dir"], exported["data"]["train"], exported["data"]["val"]) == (
        "a",
        "x-*.tar,y.csv",
        "val.csv",
    )
    assert from_dict(exported).model == config.model


def test_events_are_written_at_once_and_a_full_disk_is_named(tmp_path):
    events = EventFile(tmp_path / "tensorboard", 3)
    events.add("train", [{"step": 3, "loss": 1.5, "grad_norm": float("inf")}])
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in path.read_bytes() and b"train/grad_norm" in path.read_bytes()
    events._writer._py_recordio_writer._writer.close()
    events._writer._py_recordio_writer._writer = open("/dev/full", "wb")
    with pytest.raises(OSError, match="tensorboard: could not be written: No space left on device"):
        events.add("train", [{"step": 4, "loss": 1.5}])
