"""predict.py, eval_zeroshot.py and eval_retrieval.py print the same for an exported folder as for its checkpoint."""

import runpy
import sys

import pytest
from PIL import Image

from lightclip_ms.eval.export import Job, export_checkpoint
from tests import ROOT
from tests.demo.demo_folder import demo_folder
from tests.export.small_models import write_small_checkpoint


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(checkpoint, exported folder)."""
    root = tmp_path_factory.mktemp("models")
    checkpoint = write_small_checkpoint(root / "small.safetensors", "swin_nano")
    assert export_checkpoint(checkpoint, str(root / "exported"), Job(["onnx"], ["float32"]), lambda line: None) == []
    return checkpoint, str(root / "exported")


@pytest.fixture
def start(monkeypatch, capsys, tmp_path):
    """Run a script in this process; returns what it printed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def numbers(printed: str) -> list[float]:
    """Every number before a percent sign."""
    words = printed.split()
    return [float(word) for word, unit in zip(words, words[1:]) if unit == "%"]


def test_the_same_numbers(models, start, tmp_path):
    data = demo_folder()
    Image.new("RGB", (90, 70), "red").save(tmp_path / "red.png")
    commands = {
        "eval_retrieval.py": ["--data", data / "val.tar"],
        "eval_zeroshot.py": [
            *("--data", data / "colours.tar", "--classnames", data / "colours.txt"),
            *("--templates", data / "colours_templates.txt"),
        ],
        "predict.py": [tmp_path / "red.png", "--texts", "a cat", "a dog"],
    }
    for script, arguments in commands.items():
        checkpoint, exported = (numbers(start(script, "--checkpoint", model, *arguments)) for model in models)
        assert exported == pytest.approx(checkpoint, abs=0.1) and len(exported) > 1, script


@pytest.mark.parametrize("script", ["gradcam.py", "match_words.py"])
def test_what_needs_the_model_says_so(models, start, capsys, tmp_path, script):
    Image.new("RGB", (90, 70), "red").save(tmp_path / "red.png")
    with pytest.raises(SystemExit) as stopped:
        start(script, *("--checkpoint", models[1], "--image", tmp_path / "red.png", "--text", "a", "--out", "x.png"))
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and "an exported model; this needs the checkpoint it was made from" in message
