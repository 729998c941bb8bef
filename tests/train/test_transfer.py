"""Runs that start from weights, and runs with MindCV's networks: the demo's recipe, one epoch of two steps each."""

import dataclasses
import shutil

import mindspore as ms
import numpy as np
import pytest

from lightclip_ms.config.file import from_dict, load_config, to_dict
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.foreign.importing import import_weights
from lightclip_ms.model.weights import cell_arrays, read_checkpoint, read_header, write_checkpoint
from lightclip_ms.runtime.files import sha256
from lightclip_ms.train.state import refuse_other_run
from lightclip_ms.train.transfer import freeze, load_pretrained
from tests import ROOT
from tests.train.test_run_folder import shard, train  # noqa: F401  (shard is a fixture)
from tests.train.tiny_training import MODEL

SMALL = [
    "model.image_size=64",
    "model.embed_dim=32",
    "model.context_length=24",
    "model.vocab_size=600",
    "model.text_width=32",
    "model.text_heads=2",
    "model.text_layers=4",
    "train.batch_size=8",
    "train.epochs=1",
    "device=cpu",
]


def configuration(network: str, *overrides: str):
    return load_config(str(ROOT / "configs/demo.yaml"), [f"model.name=lightclip_mindcv/{network}", *SMALL, *overrides])


def train_network(network: str, *overrides: str):
    return train(f"model.name=lightclip_mindcv/{network}", *SMALL, *overrides)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A checkpoint made from MindCV's own file of a small MobileNet-V3."""
    from mindcv.models import create_model as mindcv_model

    folder = tmp_path_factory.mktemp("start")
    ms.save_checkpoint(mindcv_model("mobilenet_v3_small_075"), str(folder / "net.ckpt"))
    config = configuration("mobilenet_v3_small_075")
    arrays, _, _ = import_weights([folder / "net.ckpt"], config.model, "imagenet", seed=5)
    write_checkpoint(folder / "start.safetensors", arrays, {"kind": "imported", "config": to_dict(config)})
    return folder / "start.safetensors"


def test_a_frozen_tower_of_mindcv_keeps_its_weights_and_statistics(start, shard, tmp_path):  # noqa: F811
    overrides = [f"data.train={shard}", f"data.val={shard}", "train.freeze=image", f"model.pretrained={start}"]
    done = train_network("mobilenet_v3_small_075", *overrides, f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    before, _ = read_checkpoint(start)
    after, header = read_checkpoint(tmp_path / "model.safetensors")
    assert header["pretrained"] == sha256(start)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith("model/visual.")]
    assert "model/logit_scale" in changed and "model/text.projection.weight" in changed
    # A copy is the same start; another file is another run, and so is none.
    copy = shutil.copy(start, tmp_path / "copy.safetensors")
    config = configuration(
        "mobilenet_v3_small_075", *overrides[:3], f"model.pretrained={copy}", f"output_dir={tmp_path}"
    )
    newest = max((tmp_path / "checkpoints").iterdir())
    refuse_other_run(read_header(newest), config, 1, sha256(copy), newest)
    with pytest.raises(ValueError, match="started from weights with SHA-256 .* model.pretrained has none; set it back"):
        refuse_other_run(read_header(newest), config, 1, "", newest)


def test_a_network_of_mindcv_trains_with_a_rate_of_its_own(shard, tmp_path):  # noqa: F811
    overrides = [f"data.train={shard}", f"data.val={shard}", "train.image_lr=1e-4", f"output_dir={tmp_path}"]
    done = train_network("shufflenet_v2_x0_5", *overrides)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").exists() and "evaluation" in done.stdout


def test_weights_of_another_architecture_and_missing_files_are_refused(start, tmp_path):
    model = create_model(MODEL)
    with pytest.raises(
        ValueError, match="start.safetensors: checkpoint of another architecture: model.image_encoder is"
    ):
        load_pretrained(model, dataclasses.replace(MODEL, pretrained=str(start)))
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors: no such checkpoint"):
        load_pretrained(model, dataclasses.replace(MODEL, pretrained=str(tmp_path / "nowhere.safetensors")))


def test_a_model_starts_from_the_weights_and_their_digest(tmp_path):
    ms.set_seed(1)
    source, model = create_model(MODEL), create_model(MODEL)
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, cell_arrays(source, "model"), {"config": {"model": to_dict(MODEL)}})
    assert load_pretrained(model, MODEL) == ""
    assert load_pretrained(model, dataclasses.replace(MODEL, pretrained=str(path))) == sha256(path)
    expected = cell_arrays(source, "model")
    assert all(np.array_equal(expected[name], array) for name, array in cell_arrays(model, "model").items())


@pytest.mark.parametrize("tower, prefix", [("image", "visual."), ("text", "text.")])
def test_freezing_takes_one_tower(tower, prefix):
    model = create_model(MODEL)
    everything = {parameter.name for parameter in model.trainable_params()}
    freeze(model, "")
    assert {parameter.name for parameter in model.trainable_params()} == everything
    freeze(model, tower)
    rest = {parameter.name for parameter in model.trainable_params()}
    assert everything - rest == {name for name in everything if name.startswith(prefix)}


@pytest.mark.parametrize(
    "train_section, message",
    [
        ({"freeze": "both"}, "train.freeze: 'both' is not possible: use image or text"),
        ({"image_lr": -1.0}, "train.image_lr"),
        ({"freeze": "image", "sync_batch_norm": True}, "a frozen image tower keeps its statistics"),
    ],
)
def test_impossible_settings(train_section, message):
    with pytest.raises(ValueError, match=message):
        from_dict({"train": train_section})
