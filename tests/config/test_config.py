"""Configuration: every file loads and builds, every mistake is named."""

import glob
import time
from pathlib import Path

import pytest
import yaml

from lightclip_ms.config.file import SHIPPED, from_dict, load_config, shipped_names, to_dict
from lightclip_ms.config.methods import METHODS
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


def test_a_method_sets_the_loss_and_what_is_given_beside_it_wins(tmp_path):
    slip = load_config(str(CONFIGS / "demo.yaml"), ["method=slip"])
    assert (slip.method, slip.loss.labels, slip.loss.simclr_weight, slip.loss.mlm_weight) == ("slip", "hard", 1.0, 0.0)
    assert slip.loss.mlm_rows_per_text == 2.5  # of demo.yaml
    half = load_config(str(CONFIGS / "demo.yaml"), ["loss.simclr_weight=0.5", "method=slip"])
    assert half.loss.simclr_weight == 0.5 and half.loss.instance_weight == 1.0
    again = load_config(str(CONFIGS / "resnet18_clip.yaml"), ["method=lightclip"])
    assert again.loss == load_config(str(CONFIGS / "resnet18.yaml")).loss
    path = tmp_path / "own.yaml"
    path.write_text(f"base: {CONFIGS / 'base.yaml'}\nmethod: siglip\nloss: {{instance_weight: 0.1}}\n")
    own = load_config(str(path))
    assert (own.loss.siglip_weight, own.loss.instance_weight, own.loss.token_weight) == (1.0, 0.1, 0.0)
    assert from_dict(to_dict(own)) == own
    with pytest.raises(ValueError, match="method: 'slipp' is not possible: use one of lightclip, .*did you mean slip"):
        load_config(str(CONFIGS / "demo.yaml"), ["method=slipp"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_valid_loss(method):
    assert load_config(str(CONFIGS / "resnet18.yaml"), [f"method={method}"]).method == method


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
        ("loss.fused_stages=[3,2]", ["loss.fused_stages", "(3, 2)", "1, 2, 3, 4"]),
        ("loss.fused_stages=2", ["loss.fused_stages", "tuple", "int"]),
        ("loss.labels=soft", ["loss.labels", "'soft'", "progressive, hard, smoothed or importance"]),
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


@pytest.mark.parametrize(
    "key, value",
    [
        ("data.csv_separator", ","),
        ("data.csv_separator", "|"),
        ("data.csv_separator", "\\t"),
        ("data.csv_separator", "\t"),
        ("data.train", "*.tar"),
        ("data.train", "{00000..00003}.tar"),
        ("data.train", "set #1/x.csv"),
        ("data.train", "@x"),
        ("data.train", "a: b"),
        ("data.train", "'quoted'"),
        ("data.train", "1"),
        ("data.train", "null"),
        ("data.train", " spaced "),
        ("data.train", "x=y.csv"),
        ("data.train", "caf\udce9.csv"),
        ("data.train", "%x"),
        ("data.train", ""),
    ],
)
def test_a_text_is_taken_as_it_was_typed(key, value):
    config = load_config(str(CONFIGS / "demo.yaml"), [f"{key}={value}"])
    assert getattr(config.data, key.removeprefix("data.")) == value
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config  # config.yaml of the run


@pytest.mark.parametrize(
    "text, words",
    [
        ("train:\n  lr: 1\n  epochs: 2\n  lr: 2\n", ["'lr'", "twice", "lines 2 and 4"]),
        ("device: cpu\ndevice: gpu\n", ["'device'", "lines 1 and 2"]),
        ("train: {epochs: 100000000000000000000}", ["train.epochs", "1,000,000"]),
        ("model: {text_layers: 1000000}", ["model.text_layers", "1,000"]),
        ("model: {text_width: 65536, text_layers: 1000}", ["model.text_width", "parameters"]),
        ("model: {image_options: {depths: [1000000, 1, 1, 1]}}", ["model.image_options.depths", "65,536"]),
        ("model: {image_options: {width: 60000}}", ["model.image_options", "memory"]),
        ("train: {batch_size: 1000000}", ["train.batch_size", "GB"]),
        ("train: {lr: .inf}", ["train.lr", "finite"]),
        ("train: {lr: .nan}", ["train.lr", "finite"]),
        ("train: {lr: 1e400}", ["train.lr", "finite"]),
        ("data: {augment: {crop_scale: [.nan, 1]}}", ["crop_scale", "finite"]),
        ("loss: {delta: .nan}", ["loss.delta", "finite"]),
        ("train: {epochs: " + "9" * 5000 + "}", ["not valid YAML"]),
        ("a: &a [*a]", ["alias within itself"]),
        ("[" * 50_000, ["levels"]),
        ("- " * 5_000, ["levels"]),
        ("\n".join(f"k{number}: 1" for number in range(5000)), ["values are no configuration"]),
        ("x" * 200_000, ["bytes are no configuration"]),
        ("base: [a]", ["base", "name of a file"]),
        ("base: nowhere.yaml", ["nowhere.yaml", "no such configuration file"]),
        ("model: {name: [a]}", ["unknown model ['a']"]),
        ("1: 2", ["1: unknown configuration key"]),
        ("? [a]\n: b", ["not valid YAML"]),
        ("!!int x", ["not valid YAML"]),
        ("\0", ["not valid YAML"]),
    ],
)
def test_every_mistake_in_a_file_is_one_line_and_comes_within_a_second(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises((ValueError, OSError)) as caught:
        load_config(str(path))
    message = str(caught.value)
    assert time.process_time() - start < 1
    assert message.startswith(str(tmp_path)) and "\n" not in message and len(message) < 500
    assert all(word in message for word in words), message


def test_an_alias_bomb_is_refused_within_a_second(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in zip("abcdefghi", "bcdefghij")]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    start = time.process_time()
    with pytest.raises(ValueError, match="bomb.yaml: more than 4,000 values are no configuration"):
        load_config(str(tmp_path / "bomb.yaml"))
    assert time.process_time() - start < 1


def test_numbers_are_what_they_look_like(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {seed: 010, lr: 5e-4, epochs: 1_0}\noutput_dir: 2024-01-01\n")
    config = load_config(str(tmp_path / "mine.yaml"))
    assert (config.train.seed, config.train.lr, config.train.epochs) == (10, 5e-4, 10)
    assert config.output_dir == "2024-01-01"
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfed\0")
    with pytest.raises(ValueError, match="mine.yaml: not UTF-8: byte 0xff at 0"):
        load_config(str(tmp_path / "mine.yaml"))
