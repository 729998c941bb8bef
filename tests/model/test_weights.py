"""Checkpoint files: whole or not there, refused when damaged, and the model comes back as it was."""

import os

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import save_file

from lightclip_ms.config.file import to_dict
from lightclip_ms.config.schema import Config
from lightclip_ms.model import factory, weights
from lightclip_ms.model.weights import cell_arrays, load_cell, read_checkpoint, read_header, write_checkpoint
from tests.train.tiny_training import MODEL

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
        monkeypatch.setattr(weights, "VERSION", 99)
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

    monkeypatch.setattr(weights.os, "fsync", disk_full)
    with pytest.raises(OSError, match="c.safetensors: could not be written: No space left"):
        write_checkpoint(path, {}, {})
    monkeypatch.undo()
    assert read_checkpoint(path)[1] == HEADER and os.listdir(tmp_path) == ["c.safetensors"]


def test_a_model_comes_back_with_its_weights_and_its_configuration(tmp_path):
    model = factory.create_model(MODEL).set_train(False)
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, cell_arrays(model, "model"), {"config": to_dict(Config(model=MODEL))})
    loaded, (_, eval_transform), tokenizer = factory.load_model(path)
    assert factory.model_config(read_header(path)) == MODEL
    assert eval_transform.image_size == MODEL.image_size and tokenizer.context_length == MODEL.context_length
    ids = np.zeros((1, MODEL.context_length), np.int32)
    ids[0, :3] = MODEL.vocab_size - 2, 5, MODEL.vocab_size - 1
    images = Tensor(np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32))
    np.testing.assert_array_equal(loaded.encode_image(images).asnumpy(), model.encode_image(images).asnumpy())
    np.testing.assert_array_equal(loaded.encode_text(ids).asnumpy(), model.encode_text(ids).asnumpy())


@pytest.mark.parametrize(
    "name, difference",
    [
        ("lightclip_demo", "model.image_encoder is 'swin_nano', that of lightclip_demo is"),
        ("lightclip_swin_nano", "model.image_size is 64, that of lightclip_swin_nano is 224"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_by_the_first_difference(tmp_path, name, difference):
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, {}, {"config": to_dict(Config(model=MODEL))})
    with pytest.raises(ValueError, match=f"model.safetensors: checkpoint of another architecture: {difference}"):
        factory.create_model_and_transforms(name, pretrained=path)


def test_load_cell_names_what_is_missing(tmp_path):
    model = factory.create_model(MODEL)
    arrays = cell_arrays(model, "model")
    del arrays["model/logit_scale"]
    with pytest.raises(ValueError, match="logit_scale has nothing, this model expects shape"):
        load_cell(model, "model", arrays, "x")


def test_a_checkpoint_of_format_1_gives_its_heads_their_present_names(tmp_path, monkeypatch):
    old = {
        "objective/token_projection.projection.weight": np.ones((2, 2), np.float32),
        "update/optimizer.adam.moment1.objective.mlm_heads.text_head.bias": np.zeros(3, np.float32),
        "model/text.norm.gamma": np.ones(2, np.float32),
    }
    monkeypatch.setattr(weights, "VERSION", 1)
    write_checkpoint(tmp_path / "old.safetensors", old, HEADER)
    monkeypatch.undo()
    assert sorted(read_checkpoint(tmp_path / "old.safetensors")[0]) == [
        "model/text.norm.gamma",
        "objective/token.projection.projection.weight",
        "update/optimizer.adam.moment1.objective.mlm.heads.text_head.bias",
    ]
