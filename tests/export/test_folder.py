"""From a checkpoint to a folder that gives the same answers without MindSpore, and what is said when it is broken."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import lightclip_ms
from lightclip_ms.eval.export import Job, export_checkpoint
from lightclip_ms.export.manifest import read_manifest
from tests import ROOT
from tests.demo.demo_folder import demo_folder
from tests.export.small_models import CONFIGS, write_small_checkpoint

TEXTS = ["a red square", "naïve café &amp; crème", "x" * 90]


def export(checkpoint, out, **options):
    """(lines that were printed, bounds that were broken)."""
    lines = []
    job = Job(**{"formats": ["onnx"], "precisions": ["float32"], **options})
    return lines, export_checkpoint(str(checkpoint), str(out), job, lines.append)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.safetensors")


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """An export with everything: precisions, tokens, MINDIR."""
    out = tmp_path_factory.mktemp("exports") / "whole"
    options = {"precisions": ["int8", "float32", "float16"], "formats": ["onnx", "mindir"], "with_tokens": True}
    calibration = str(demo_folder() / "val.tar")
    lines, wrong = export(checkpoint, out, calibration=calibration, **options)
    assert wrong == []
    return out, lines


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "copy")


def test_the_folder_holds_what_its_manifest_says(exported, checkpoint):
    folder, lines = exported
    manifest = read_manifest(folder)
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json", "parity.json"}
    assert set(manifest["files"]) >= {"image.int8.onnx", "text.float16.onnx", "image.mindir", "merges.txt"}
    assert manifest["onnx"]["image"]["default"] == "float32" and manifest["onnx"]["text"]["input"] == "ids"
    assert manifest["onnx"]["text"]["outputs"] == ["features", "tokens"] and manifest["grid"] == [1, 1]
    assert manifest["source"]["checkpoint"] == "small.safetensors" and len(manifest["source"]["sha256"]) == 64
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    assert sizes["text.int8.onnx"] < sizes["text.float16.onnx"] < sizes["text.float32.onnx"]
    report = json.loads((folder / "parity.json").read_text())
    assert report["pictures"] == report["captions"] == 48 and report["broken"] == []
    assert set(report["towers"]) == {
        f"{tower}.{kind}" for tower in ("image", "text") for kind in ("float32", "float16", "int8", "mindir")
    }
    assert report["towers"]["image.mindir"]["relative_error"] < 1e-6
    assert any(line.startswith("image.float32") and "100.0 %" in line for line in lines)


def test_answers_are_those_of_the_checkpoint(exported, checkpoint):
    towers = lightclip_ms.load_exported(exported[0])
    model, (_, transform), tokenizer = lightclip_ms.load_model(checkpoint)
    picture = Image.effect_mandelbrot((70, 50), (-2, -1, 1, 1), 40).convert("RGB")
    pixels = towers.transform(picture)
    np.testing.assert_array_equal(pixels, transform(picture))
    np.testing.assert_array_equal(towers.tokenizer(TEXTS), tokenizer(TEXTS))
    ids = tokenizer(TEXTS)
    for normalize in (False, True):
        image, expected = towers.encode_image(pixels[None], normalize), model.encode_image(pixels[None], normalize)
        np.testing.assert_allclose(image, expected.asnumpy(), rtol=1e-4, atol=1e-5)
        text, expected = towers.encode_text(ids, normalize), model.encode_text(ids, normalize)
        np.testing.assert_allclose(text, expected.asnumpy(), rtol=1e-4, atol=1e-5)
    assert towers.encode_image(np.zeros((0, 3, 32, 32))).shape == (0, 16)
    halved = lightclip_ms.load_exported(exported[0], image="float16", text="int8")
    assert halved.precisions == {"image": "float16", "text": "int8"} and halved.checksum != towers.checksum
    cosine = (halved.encode_text(ids, True) * towers.encode_text(ids, True)).sum(axis=1)
    assert 0.99 < cosine.min() and cosine.max() < 1 - 1e-7


def test_mindspore_is_not_imported(exported):
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mindspore", "cv2", "simplejpeg", "safetensors", "yaml", "onnx", "scipy"):
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
import io
from PIL import Image
import lightclip_ms
towers = lightclip_ms.load_exported({str(exported[0])!r})
data = io.BytesIO()
Image.new("RGB", (40, 30), "red").save(data, "JPEG")
image = towers.encode_image(towers.transform(data.getvalue())[None], normalize=True)
text = towers.encode_text(towers.tokenizer(["red", "a green thing"]), normalize=True)
print((image @ text.T).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "(1, 2)\n", done.stderr


def change_json(folder, key, value):
    content = json.loads((folder / "manifest.json").read_text())
    content[key] = value
    (folder / "manifest.json").write_text(json.dumps(content))


def wrong_opset(folder):
    """A file of an opset that no runtime knows, with a manifest that agrees."""
    import onnx

    from lightclip_ms.export.manifest import write_manifest

    manifest = read_manifest(folder)
    model = onnx.load(folder / "text.float32.onnx")
    model.opset_import[0].version = 99
    (folder / "text.float32.onnx").write_bytes(model.SerializeToString())
    write_manifest(folder, {key: value for key, value in manifest.items() if key not in ("format", "version", "files")})


DAMAGE = {
    "missing": (lambda f: (f / "text.float32.onnx").unlink(), "text.float32.onnx: missing from the exported folder"),
    "cut": (
        lambda f: (f / "image.float32.onnx").write_bytes(b"1"),
        "image.float32.onnx: has 1 bytes, manifest.json says",
    ),
    "changed": (
        lambda f: (f / "merges.txt").write_text((f / "merges.txt").read_text().replace("t", "T")),
        "merges.txt: its checksum differs",
    ),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "no exported model .manifest.json is missing"),
    "edited": (lambda f: change_json(f, "scale", 1.0), "the manifest was changed after it was written"),
    "newer": (lambda f: change_json(f, "version", 2), "format version 2, this package reads 1"),
    "no JSON": (lambda f: (f / "manifest.json").write_text("{"), "not valid JSON"),
    "other JSON": (lambda f: (f / "manifest.json").write_text("[]"), "not the manifest of an exported model"),
    "opset": (wrong_opset, "text.float32.onnx: ONNX Runtime .* cannot run it"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_folder_that_is_not_whole_is_refused_in_a_sentence(copy, damage):
    change, message = DAMAGE[damage]
    change(copy)
    with pytest.raises((ValueError, OSError), match=message):
        lightclip_ms.load_exported(copy)


def test_wrong_requests_are_refused(exported, checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        lightclip_ms.load_exported(tmp_path / "nowhere")
    towers = lightclip_ms.load_exported(exported[0])
    with pytest.raises(ValueError, match=r"images must be \[N, 3, 32, 32\], not \[1, 3, 8, 8\]"):
        towers.encode_image(np.zeros((1, 3, 8, 8)))
    with pytest.raises(ValueError, match="row 0 has no end-of-text id 599"):
        towers.encode_text(np.zeros((1, 20), np.int32))
    with pytest.raises(ValueError, match="token ids must be 0 to 600"):
        towers.encode_text(np.full((1, 20), 601, np.int32))
    lines, wrong = export(checkpoint, tmp_path / "text", precisions=["int8"])
    assert wrong == [] and any("not in int8, which needs --calibration" in line for line in lines)
    with pytest.raises(ValueError, match="image tower was not exported in 'int8'; there is float32"):
        lightclip_ms.load_exported(tmp_path / "text", image="int8")
    assert lightclip_ms.load_exported(tmp_path / "text").precisions == {"image": "float32", "text": "int8"}


def test_only_an_export_is_replaced_and_only_by_a_whole_one(checkpoint, tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match="precious: exists and is not replaced"):
        export(checkpoint, precious)
    out = tmp_path / "out"
    assert export(checkpoint, out)[1] == []
    before = (out / "manifest.json").read_bytes()
    from lightclip_ms.eval import parity

    monkeypatch.setitem(parity.BOUNDS, "float32", parity.Bounds(0.0, 1.1))
    _, wrong = export(checkpoint, out, precisions=["float16", "float32"])
    assert len(wrong) == 5 and wrong[0].startswith("image tower, float32: relative error")
    assert wrong[-1] == f"{out}: not written"
    assert (out / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "swin_nano"])
def test_every_architecture_exports_in_every_precision(name, tmp_path):
    checkpoint = write_small_checkpoint(tmp_path / f"{name}.safetensors", name)
    calibration = str(demo_folder() / "val.tar")
    precisions = ["float32", "float16", "int8"]
    _, wrong = export(checkpoint, tmp_path / "out", precisions=precisions, calibration=calibration)
    assert not [line for line in wrong if "float32" in line]  # random weights amplify what the others lose


def test_the_script_says_what_is_wrong(checkpoint, tmp_path):
    def run(*arguments):
        command = [sys.executable, str(ROOT / "scripts" / "export.py"), *map(str, arguments)]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    done = run(checkpoint, "--out", tmp_path / "out", "--pairs", demo_folder() / "val.tar", "--precision", "float16")
    assert done.returncode == 0, done.stderr
    assert "exported to" in done.stdout and "60 pictures and 60 captions" in done.stdout
    done = run(tmp_path / "none.safetensors", "--out", tmp_path / "never")
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path / 'none.safetensors'}: no such checkpoint\n")
    assert not (tmp_path / "never").exists()
    assert CONFIGS["resnet18"].vocab_size == read_manifest(tmp_path / "out")["tokenizer"]["vocab_size"]
