"""The package as `pip install` leaves it: away from the checkout, with no scripts/, configs/ or tests/ beside it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import ROOT
from tests.export.small_models import write_small_checkpoint

OFFLINE = ("No matching distribution found", "Could not find a version", "Connection")
API = """
import lightclip_ms
from lightclip_ms.config.file import load_config
print(lightclip_ms.__file__)
tokenizer = lightclip_ms.get_tokenizer("lightclip_resnet18")
model, transforms, tokenizer = lightclip_ms.load_model("small.safetensors")
print(list(model.encode_text(tokenizer(["a cat", "a dog"]), normalize=True).shape), load_config("swin_nano").model.name)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds the package, unpacked from a wheel that was built from a copy of the sources."""
    root = tmp_path_factory.mktemp("installed")
    sources = root / "sources"
    for name in ("lightclip_ms", "configs"):  # as a checkout has them: the link between the two stays a link
        shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, sources)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", root / "wheels", sources]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode and any(words in done.stderr for words in OFFLINE):
        pytest.skip("building a wheel needs setuptools from the package index")
    assert done.returncode == 0, done.stderr
    (wheel,) = (root / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "target")
    shutil.rmtree(sources)
    return root / "target"


@pytest.fixture
def run(installed, tmp_path):
    """Run Python in an empty folder with the installed package; returns what it printed."""
    environ = {**os.environ, "PYTHONPATH": str(installed)}

    def running(*arguments, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return running


def test_the_wheel_holds_all_files_of_the_package(installed):
    kept = {path.relative_to(ROOT) for path in (ROOT / "lightclip_ms").rglob("*") if path.is_file()}
    configs = [path for path in (ROOT / "configs").rglob("*") if path.is_file()]
    kept |= {Path("lightclip_ms/config/shipped", path.relative_to(ROOT / "configs")) for path in configs}
    missing = {path for path in kept if "__pycache__" not in path.parts and not (installed / path).is_file()}
    assert missing == set()
    assert not (installed / "lightclip_ms" / "config" / "shipped").is_symlink()


def test_the_api_works(installed, run, tmp_path):
    write_small_checkpoint(tmp_path / "small.safetensors", "resnet18")
    where, shapes = run("-c", API).splitlines()[-2:]
    assert Path(where).is_relative_to(installed)
    assert shapes.startswith("[2, ") and shapes.endswith("lightclip_swin_nano")


def test_commands_and_configurations_go_by_their_names(run):
    assert run("-m", "lightclip_ms.train", "--config", "resnet18", "--print-output-dir") == "runs/resnet18\n"
    assert "did you mean resnet18" in run(
        "-m", "lightclip_ms.train", "--config", "resnet81", "--print-output-dir", code=2
    )
    for command in ("predict", "export", "web", "eval retrieval"):
        shown = run("-m", *f"lightclip_ms.{command}".split(), "--help")
        assert shown.startswith(f"usage: python -m lightclip_ms.{command} ")
    assert "{zeroshot,retrieval,all}" in run("-m", "lightclip_ms.eval", "nothing", code=2)


def test_a_configuration_of_the_users_is_found_from_their_folder(tmp_path):
    """Before anything is trained: the mistake in it is named, and the folder keeps what it held."""
    (tmp_path / "mine.yaml").write_text("base: demo\ntrain: {lr: fast}\n")
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "run_distribute.sh", "mine.yaml", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: mine.yaml: train.lr: 'fast'")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
