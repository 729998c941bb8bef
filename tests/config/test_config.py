"""Configuration: every file loads and builds, every mistake is named."""

import glob
from pathlib import Path

import pytest
import yaml

from lightclip_ms.config.file import SHIPPED, from_dict, load_config, shipped_names, to_dict
from lightclip_ms.config.schema import Config
from lightclip_ms.model import factory
from tests import ROOT

CONFIGS = ROOT / "configs"
FILES = sorted(glob.glob(str(CONFIGS / "*.yaml")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).stem)
def test_every_config_loads_and_its_model_builds(path):
    config = load_config(path)
    model = factory.create_model(config.model)
    assert model.visual.image_size == config.model.image_size
    assert model.text.context_length == config.model.context_length


def test_there_are_configs_for_the_papers_encoders_and_the_demo():
    assert {"base", "demo", "resnet18", "mobilenet_v2", "swin_nano"} <= {Path(path).stem for path in FILES}


def test_base_is_complete_and_holds_the_defaults():
    """So that a reader of base.yaml has seen every key, and a library user gets the same recipe."""
    written = yaml.safe_load((CONFIGS / "base.yaml").read_text())
    defaults = to_dict(Config())
    assert written.keys() == defaults.keys() - {"model"}  # the preset of model.name holds those
    for section in ("data", "loss", "train"):
        assert written[section].keys() == defaults[section].keys()
    assert written["loss"] == defaults["loss"] and written["train"] == defaults["train"]
    assert written["data"]["augment"] == defaults["data"]["augment"]


@pytest.mark.parametrize(
    "path", [path for path in FILES if not path.endswith("base.yaml")], ids=lambda path: Path(path).stem
)
def test_other_configs_state_only_differences(path):
    def repeated(changes, base, prefix=""):
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                yield from repeated(value, base[key], f"{prefix}{key}.")
            elif base.get(key) == value:
                yield prefix + key

    values = yaml.safe_load(Path(path).read_text())
    base = yaml.safe_load((CONFIGS / values.pop("base")).read_text())
    assert list(repeated(values, base)) == []


def test_a_preset_fills_the_keys_that_are_not_given():
    config = from_dict({"model": {"name": "lightclip_swin_nano", "text_layers": 4}})
    assert (config.model.image_encoder, config.model.embed_dim, config.model.text_layers) == ("swin_nano", 512, 4)


def test_the_name_picks_the_preset_and_other_keys_override_it():
    config = load_config(str(CONFIGS / "resnet18.yaml"), ["model.name=lightclip_swin_nano", "model.text_layers=4"])
    assert (config.model.image_encoder, config.model.embed_dim, config.model.text_layers) == ("swin_nano", 512, 4)
    config = load_config(str(CONFIGS / "base.yaml"), ["model.image_encoder=swin_nano"])
    assert config.model.name == "lightclip_swin_nano" and config.model.embed_dim == 512


def test_a_name_and_an_encoder_that_contradict_each_other_are_refused():
    with pytest.raises(
        ValueError, match="model.image_encoder: 'swin_nano' is not possible: .*use model.name=lightclip_"
    ):
        load_config(str(CONFIGS / "resnet18.yaml"), ["model.image_encoder=swin_nano"])
    # A checkpoint of an earlier version may carry such a pair: the encoder is what it holds.
    old = {"name": "lightclip_resnet18", "image_encoder": "swin_nano", "embed_dim": 512}
    assert from_dict({"model": old}).model.image_encoder == "swin_nano"


def test_overrides_win_and_keep_their_types():
    config = load_config(
        str(CONFIGS / "demo.yaml"),
        ["train.batch_size=7", "train.lr=5e-4", "data.augment.crop_scale=[0.5,1]", "device=cpu"],
    )
    assert (config.train.batch_size, config.train.lr, config.device) == (7, 5e-4, "cpu")
    assert config.data.augment.crop_scale == (0.5, 1.0)


@pytest.mark.parametrize("name", ["resnet18", "resnet18.yaml"])
def test_a_shipped_configuration_goes_by_its_name_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name) == load_config(str(CONFIGS / "resnet18.yaml"))
    (tmp_path / "mine.yaml").write_text("base: demo\ntrain: {seed: 7}\n")
    assert load_config("mine.yaml", ["train.seed=0"]) == load_config("demo")
    (tmp_path / name).write_text("base: demo\n")  # a file of the user's own comes first
    assert load_config(name) == load_config("demo")


def test_a_file_that_is_its_own_base_is_refused(tmp_path):
    (tmp_path / "one.yaml").write_text("base: two.yaml\n")
    (tmp_path / "two.yaml").write_text("base: one.yaml\n")
    with pytest.raises(ValueError, match="one.yaml: is its own base: .*one.yaml -> .*two.yaml -> .*one.yaml"):
        load_config(str(tmp_path / "one.yaml"))


def test_there_is_one_copy_of_the_shipped_configurations():
    assert SHIPPED.samefile(CONFIGS) and shipped_names() == sorted(Path(path).stem for path in FILES)


def test_round_trip():
    config = load_config(str(CONFIGS / "demo.yaml"))
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


@pytest.mark.parametrize(
    "override, words",
    [
        ("train.bach_size=8", ["train.bach_size", "train.batch_size"]),
        ("trian.lr=1", ["trian", "train.lr"]),
        ("train.batch_size=0", ["train.batch_size", "0", "at least 1"]),
        ("train.batch_size=many", ["train.batch_size", "'many'", "int"]),
        ("train.batch_size=true", ["train.batch_size", "True"]),
        ("loss.delta=1.5", ["loss.delta", "1.5", "0 to 1"]),
        ("loss.r1=0.9", ["loss.r1", "loss.r2"]),
        ("loss.source=labels", ["loss.source", "'labels'", "logits, cosine or probs"]),
        ("model.text_heads=5", ["model.text_heads", "5", "divide", "128"]),
        ("model.text_layers=6", ["model.text_layers", "6", "multiple of 4"]),
        ("data.augment.crop_scale=[0.2]", ["data.augment.crop_scale", "2 numbers"]),
        ("data.augment.crop_scale=[0.9,0.2]", ["data.augment.crop_scale", "low <= high"]),
        ("device=tpu", ["device", "'tpu'", "cpu"]),
        ("model.name=lightclip_resnet19", ["lightclip_resnet19", "lightclip_resnet18"]),
        ("train.lr", ["train.lr", "key=value"]),
        ("train=5", ["train", "5", "mapping"]),
    ],
)
def test_a_mistake_is_named_with_its_remedy(override, words):
    with pytest.raises(ValueError) as caught:
        load_config(str(CONFIGS / "demo.yaml"), [override])
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_files_that_are_missing_or_no_mapping(tmp_path):
    with pytest.raises(FileNotFoundError, match="demos.yaml: no such configuration file; did you mean demo, "):
        load_config(str(tmp_path / "demos.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="list.yaml: a configuration is a mapping"):
        load_config(str(tmp_path / "list.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ValueError, match="broken.yaml: not valid YAML"):
        load_config(str(tmp_path / "broken.yaml"))
