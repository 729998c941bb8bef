"""Files in, a checkpoint out: what is read, what is refused with a way out, what the table says."""

import json
import pickle
import subprocess
import sys
import zipfile

import mindspore as ms
import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from lightclip_ms.model.factory import create_model, load_model_and_config
from lightclip_ms.model.foreign import report
from lightclip_ms.model.foreign.importing import import_weights
from lightclip_ms.model.foreign.sources import read_tensors, recognise
from lightclip_ms.model.weights import cell_arrays, write_checkpoint
from tests import ROOT
from tests.model.foreign.random_tensors import random_pictures
from tests.model.foreign.test_maps import CONFIGS, SMALL_TEXT, golden, image_config, text_config


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Safetensors files of three sources, by golden name."""
    folder = tmp_path_factory.mktemp("sources")
    paths = {}
    for name in ("timm_resnet18d", "timm_swin", "open_clip_quick_gelu"):
        paths[name] = str(folder / f"{name}.safetensors")
        save_file(golden(name)[0], paths[name])
    return paths


def test_two_files_make_one_model_and_the_table_says_how(files):
    config = text_config(image_encoder="resnet18", image_size=64, image_options=CONFIGS["timm_resnet18d"].image_options)
    paths = [files["timm_resnet18d"], files["open_clip_quick_gelu"]]
    arrays, imported, fresh = import_weights(paths, config, "imagenet", seed=0)
    assert [part.tower for part in imported] == ["visual", "text"]
    assert {name.removeprefix("visual.").split(".")[0] for name in fresh} == {"pool", "logit_scale"}
    shapes = {name: array.shape for name, array in cell_arrays(create_model(config), "model").items()}
    assert {name: array.shape for name, array in arrays.items()} == shapes
    text = report.table(imported, fresh)
    for words in (
        "timm's resnet18d, 80 tensors used",
        "mapped    visual.stages.0.1 ",
        "from layer1.1",
        "left out  18 tensors: counters, fc",
        "fresh: visual.pool (8)",
        "activation: quick_gelu here",
        "pictures: mean and deviation of imagenet there",
    ):
        assert words in text, text
    again, _, _ = import_weights(paths, config, "imagenet", seed=0)
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)  # what is fresh depends on the seed alone


def test_two_files_for_one_tower_are_refused(files):
    with pytest.raises(ValueError, match="the visual tower has its weights from an earlier file"):
        import_weights([files["timm_resnet18d"]] * 2, CONFIGS["timm_resnet18d"], "clip", 0)


def test_the_script_writes_a_checkpoint_to_train_from(files, tmp_path):
    model = {**SMALL_TEXT, "image_encoder": "swin_nano", "image_size": 64, "name": "lightclip_swin_nano"}
    model["image_options"] = CONFIGS["timm_swin"].image_options
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"model": model}))
    out = tmp_path / "new" / "start.safetensors"
    script = [sys.executable, str(ROOT / "scripts" / "import_weights.py")]
    command = [*script, files["timm_swin"], "--into", str(tmp_path / "small.yaml"), "train.seed=3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"{out}: train from it with model.pretrained={out}" in done.stdout
    loaded, config = load_model_and_config(out)
    assert config.image_encoder == "swin_nano"
    expected, _, _ = import_weights([files["timm_swin"]], config, "imagenet", seed=3)
    assert all(np.array_equal(expected[name], array) for name, array in cell_arrays(loaded, "model").items())


def pickled(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps({"a": 1}))
    return path, r"net.pth: a pickled file .* python -c .*save_file.*net.safetensors"


def zipped(tmp_path):
    path = tmp_path / "net.ckpt"  # PyTorch Lightning's name for a pickle
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", b"")
    return path, "a pickled file can run commands"


def cut(tmp_path):
    save_file(golden("timm_swin")[0], tmp_path / "cut.safetensors")
    path = tmp_path / "cut.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    return path, "cut.safetensors: not a whole safetensors file"


def ours(tmp_path):
    path = tmp_path / "ours.safetensors"
    write_checkpoint(path, {"model/a": np.zeros(1)}, {})
    return path, "already a checkpoint of this package; train from it with model.pretrained="


def garbage(tmp_path):
    path = tmp_path / "garbage.ckpt"
    path.write_bytes(b"no checkpoint at all")
    return path, "garbage.ckpt: not a whole checkpoint of MindSpore"


def bfloat16(tmp_path):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "bf16.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    return path, "a is BF16; save the tensors as float32 or float16"


@pytest.mark.parametrize("make", [pickled, zipped, cut, ours, garbage, bfloat16])
def test_files_that_are_not_read(make, tmp_path):
    path, message = make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors: no such file"):
        read_tensors(tmp_path / "nowhere.safetensors")


def test_other_names_are_answered_with_the_nearest_source():
    tensors = {"module.token_embedding.weight": None, "module.ln_final.weight": None}
    with pytest.raises(ValueError, match="no known source .*module.ln_final.weight.*known are timm's resnet18d"):
        recognise(tensors, "x.safetensors", "resnet18")
    with pytest.raises(ValueError, match="patch_embed.projection.weight is nearest to timm's or Microsoft's Swin"):
        recognise({"patch_embed.projection.weight": None}, "x.safetensors", "swin_tiny")


@pytest.fixture(scope="module")
def mindcv_checkpoint(tmp_path_factory):
    """(MindCV's network with perturbed statistics, its checkpoint)."""
    from mindcv.models import create_model as mindcv_model

    net = mindcv_model("mobilenet_v3_small_075")
    rng = np.random.default_rng(0)
    for parameter in net.get_parameters():
        if parameter.ndim == 1:
            parameter.set_data(ms.Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
    path = str(tmp_path_factory.mktemp("mindcv") / "net.ckpt")
    ms.save_checkpoint(net, path)
    return net.set_train(False), path


MINDCV = image_config("mindcv/mobilenet_v3_small_075")


def test_a_checkpoint_of_mindcv_gives_mindcvs_maps(mindcv_checkpoint):
    net, path = mindcv_checkpoint
    arrays, imported, fresh = import_weights([path], MINDCV, "clip", 0)
    assert {name.split(".")[1] for name in fresh if name.startswith("visual")} == {"pool", "widen"}
    assert {name.split(".")[0] for name in imported[0].mapping.left_out} == {"features", "classifier"}
    model = create_model(MINDCV).set_train(False)
    for name, parameter in model.parameters_and_names():
        parameter.set_data(ms.Tensor(arrays[f"model/{name}"]))
    pictures = ms.Tensor(random_pictures(2, 64))
    x = pictures
    for cell in list(net.features)[:-3]:  # the last three are the expansion before its classifier
        x = cell(x)
    expected = x.asnumpy().reshape(2, 72, -1).transpose(0, 2, 1)
    found = model.visual.forward_features(pictures)[1].asnumpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_pixels_of_a_mindcv_network_are_folded_into_its_first_convolution(mindcv_checkpoint):
    plain, imported, _ = import_weights([mindcv_checkpoint[1]], MINDCV, "clip", 0)
    folded, _, _ = import_weights([mindcv_checkpoint[1]], MINDCV, "imagenet", 0)
    assert imported[0].mapping.pixel_layers == [("visual.stages.0.0.weight", "visual.stages.0.1.moving_mean")]
    changed = {name for name in plain if not np.array_equal(plain[name], folded[name])}
    assert changed == {"model/visual.stages.0.0.weight", "model/visual.stages.0.1.moving_mean"}


def test_a_checkpoint_of_mindcv_with_other_names_is_refused(mindcv_checkpoint, tmp_path):
    tensors = read_tensors(mindcv_checkpoint[1])
    renamed = {name.replace("features.0.weight", "features_0.weight"): array for name, array in tensors.items()}
    save_file(renamed, tmp_path / "renamed.safetensors")
    with pytest.raises(
        ValueError, match="1 tensors are not of this network, the first is features_0.weight, the nearest"
    ):
        import_weights([tmp_path / "renamed.safetensors"], MINDCV, "clip", 0)
    del tensors["features.4.layers.0.weight"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match="tensor features.4.layers.0.weight is missing"):
        import_weights([tmp_path / "less.safetensors"], MINDCV, "clip", 0)
