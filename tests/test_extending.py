"""docs/extending.md works as it is printed: a copy of the package gets its files and registry lines, and uses them."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests import ROOT
from tests.data.data_files import encode, picture

PAGE = ROOT / "docs" / "extending.md"
MAX_LINES = 30
USE = """
import mindspore as ms
import numpy as np
from mindspore import Tensor

import lightclip_ms
from lightclip_ms.config.file import load_config
from lightclip_ms.data.batch import make_layout
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.eval.sets import classification
from lightclip_ms.runtime import backend
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.terms.term import needed_parts

folder = {folder!r}
dataset, names = classification.open_set("garden", classification.locate("garden", folder))
print("garden", len(dataset), names)
overrides = ["data.format=folder", f"data.train={{folder}}/pairs", "device=cpu"]
overrides += ["train.batch_size=2", "train.amp_level=O0"]
overrides += ["model.image_encoder=patch_mean", "model.image_size=64", "model.vocab_size=600", "model.embed_dim=8"]
overrides += ["model.text_width=16", "model.text_heads=2", "model.text_layers=4"]
overrides += ["loss.uniformity_weight=0.1", "loss.token_weight=0", "loss.mlm_weight=0"]
config = load_config({base!r}, overrides)
backend.prepare_device("cpu")
layout = make_layout(config, needed_parts(config.loss))
data = TrainData(config.data, Tokenizer(77, 600), layout)
batch = next(data.epoch(0))
step = TrainStep(Objective(lightclip_ms.create_model(config.model), config.loss), config.train)
arrays = map(Tensor, layout.arrays(batch))
values = step(Tensor(0, ms.int32), Tensor(1e-3, ms.float32), Tensor(0.0, ms.float32), *arrays)
print(config.model.name, dict(zip(step.metrics, values.asnumpy().round(3).tolist())))
"""


def pieces() -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Files of the page by their paths, and (registry file, lines)."""
    text = PAGE.read_text()
    files = dict(re.findall(r"^`(lightclip_ms/[^`]+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL | re.MULTILINE))
    registries = re.findall(
        r"^The registry is [^\n]*`(lightclip_ms/[^`]+)`.*?```python\n(.*?)```", text, re.DOTALL | re.M
    )
    return files, registries


def test_each_example_is_one_short_file_and_one_entry():
    files, registries = pieces()
    assert len(files) == len(registries) == 4
    assert {path: text.count("\n") for path, text in files.items() if text.count("\n") > MAX_LINES} == {}
    for _, lines in registries:
        assert len([line for line in lines.splitlines() if line and not line.startswith("from ")]) == 1


@pytest.fixture
def extended(tmp_path):
    """A copy of the package with everything that the page adds, and data for it."""
    shutil.copytree(ROOT / "lightclip_ms", tmp_path / "lightclip_ms", ignore=shutil.ignore_patterns("__pycache__"))
    files, registries = pieces()
    for path, text in files.items():
        assert not (tmp_path / path).exists()
        (tmp_path / path).write_text(text)
    for path, lines in registries:
        with open(tmp_path / path, "a") as registry:
            registry.write(lines)
    for number, name in enumerate(
        ("garden/test/rose/0", "garden/test/tulip/1", "garden/test/tulip/2", "pairs/0", "pairs/1")
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(encode(picture(number)))
        (tmp_path / f"{name}.txt").write_text(f"caption {number}")
    return tmp_path


def test_the_examples_run(extended):
    script = extended / "use.py"
    script.write_text(USE.format(folder=str(extended), base=str(ROOT / "configs" / "base.yaml")))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=extended,
        check=False,
        env={**os.environ, "PYTHONPATH": str(extended)},
    )
    assert done.returncode == 0, done.stderr
    garden, trained = done.stdout.splitlines()
    assert garden == "garden 3 ['rose', 'tulip']"
    assert (
        trained.startswith("lightclip_patch_mean ")
        and "'uniformity': -" in trained
        and "uniformity_distance" in trained
    )
