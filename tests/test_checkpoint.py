"""Checkpoint files: whole or not there, refused when damaged, and the model comes back as it was."""

import os

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import save_file

from lightclip_ms import factory
from lightclip_ms.config import Config
from lightclip_ms.config_file import to_dict
from lightclip_ms.train import checkpoint
from lightclip_ms.train.checkpoint import (
    CheckpointFolder,
    cell_arrays,
    load_cell,
    load_model,
    load_model_weights,
    read_checkpoint,
    write_checkpoint,
)
from tests.tiny_training import MODEL

ARRAYS = {"model/a": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/step": np.array(3, np.int32)}
HEADER = {"kind": "training", "global_step": 3}


def test_round_trip(tmp_path):
    write_checkpoint(tmp_path / "a.safetensors", ARRAYS, HEADER)
    arrays, header = read_checkpoint(tmp_path / "a.safetensors")
    assert header == HEADER and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "flip header", "text", "foreign", "newer"])
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path, damage, monkeypatch):
    path = tmp_path / "b.safetensors"
    if damage == "newer":
        monkeypatch.setattr(checkpoint, "VERSION", 99)
    write_checkpoint(path, ARRAYS, HEADER)
    monkeypatch.undo()
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[:-3])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flip":
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "flip header":
        path.write_bytes(content.replace(b'global_step\\": 3', b'global_step\\": 4'))
        assert path.read_bytes() != content
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "foreign":
        save_file(ARRAYS, path)
    with pytest.raises(ValueError, match="b.safetensors"):
        read_checkpoint(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, ARRAYS, HEADER)

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", disk_full)
    with pytest.raises(OSError, match="c.safetensors: the checkpoint could not be written: No space left"):
        write_checkpoint(path, {}, {})
    monkeypatch.undo()
    assert read_checkpoint(path)[1] == HEADER and os.listdir(tmp_path) == ["c.safetensors"]


def test_the_folder_keeps_the_last_ones_and_passes_over_damaged_ones(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert folder.latest() is None
    for step in (5, 10, 100):
        folder.write(step, ARRAYS, {**HEADER, "global_step": step})
    assert [path.name for path in folder.paths()] == ["step_000000010.safetensors", "step_000000100.safetensors"]
    folder.paths()[-1].write_bytes(b"cut")
    warnings = []
    path, _, header = folder.latest(warnings.append)
    assert path.name == "step_000000010.safetensors" and header["global_step"] == 10
    assert len(warnings) == 1 and "step_000000100" in warnings[0]


def test_a_model_comes_back_with_its_weights_and_its_configuration(tmp_path):
    model = factory.create_model(MODEL).set_train(False)
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, cell_arrays(model, "model"), {"config": to_dict(Config(model=MODEL))})
    loaded, config = load_model(path)
    assert config == MODEL
    ids = np.zeros((1, MODEL.context_length), np.int32)
    ids[0, :3] = MODEL.vocab_size - 2, 5, MODEL.vocab_size - 1
    images = Tensor(np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32))
    np.testing.assert_array_equal(loaded.encode_image(images).asnumpy(), model.encode_image(images).asnumpy())
    np.testing.assert_array_equal(loaded.encode_text(ids).asnumpy(), model.encode_text(ids).asnumpy())
    with pytest.raises(ValueError, match="model.safetensors: checkpoint of another architecture: .*this model expects"):
        load_model_weights(factory.create_model(factory.preset("lightclip_demo")), path)


def test_load_cell_names_what_is_missing(tmp_path):
    model = factory.create_model(MODEL)
    arrays = cell_arrays(model, "model")
    del arrays["model/logit_scale"]
    with pytest.raises(ValueError, match="logit_scale has nothing, this model expects shape"):
        load_cell(model, "model", arrays, "x")
