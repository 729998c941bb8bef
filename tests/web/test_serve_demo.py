"""The command that serves the page, as users start it."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from lightclip_ms.runtime.files import sha256
from lightclip_ms.web.first_export import export_place, provide_export
from lightclip_ms.web.routes import PAGE
from lightclip_ms.web.runtime import VERSION
from tests import ROOT
from tests.export.small_models import write_small_checkpoint
from tests.web.tiny_export import write_tiny_export


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_tiny_export(tmp_path_factory.mktemp("serve") / "exported")


def command(*arguments) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "serve_demo.py"), *map(str, arguments), "--port", "0"]


def refused(*arguments) -> str:
    """The one line of a command that ends with exit code 2."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False, env=environ())
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stderr


def environ() -> dict:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_it_serves_until_ctrl_c(export, runtime):
    arguments = command(export, "--runtime", runtime)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ()
    ) as process:
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address + "model/manifest.json", timeout=30) as answer:
            assert answer.read() == (export / "manifest.json").read_bytes()
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.read() == (PAGE / "index.html").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""
    assert (export.parent / f"onnxruntime-web-{VERSION}" / "ort.wasm.min.mjs").is_file()  # kept for the next time


def test_without_a_runtime_it_says_how_to_get_one(tmp_path):
    said = refused(write_tiny_export(tmp_path / "exported"))
    assert f"onnxruntime-web {VERSION} is not there yet" in said and "--fetch-runtime" in said and "33 MB" in said


def test_a_folder_that_is_not_there(tmp_path):
    assert "nowhere: no such exported folder, checkpoint or run's folder" in refused(tmp_path / "nowhere")


def test_a_changed_export_is_refused(runtime, tmp_path):
    folder = write_tiny_export(tmp_path / "exported")
    with open(folder / "image.float32.onnx", "ab") as file:
        file.write(b"more")
    assert "image.float32.onnx" in refused(folder, "--runtime", runtime)


def test_a_runtime_of_another_version_is_refused(export, tmp_path):
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / name).write_text("another")
    assert f"not the file of onnxruntime-web {VERSION}" in refused(export, "--runtime", tmp_path)


def test_pictures_that_are_not_there(export, runtime, tmp_path):
    assert "no such image or folder" in refused(export, "--runtime", runtime, "--pictures", tmp_path / "none")


def test_a_checkpoint_is_exported_once(monkeypatch, tmp_path):
    checkpoint = tmp_path / "checkpoints" / "step_000000001.safetensors"
    checkpoint.parent.mkdir()
    write_small_checkpoint(checkpoint)
    jobs = []

    def export_checkpoint(path, out, job, tell):
        jobs.append(job)
        write_tiny_export(Path(out), source={"checkpoint": checkpoint.name, "sha256": sha256(path)})
        return []

    monkeypatch.setattr("lightclip_ms.eval.export.export_checkpoint", export_checkpoint)
    place = export_place(str(tmp_path))
    assert place == tmp_path / "exported" and export_place(str(checkpoint)) == checkpoint.parent / "exported"
    for _ in range(2):
        provide_export(str(tmp_path), place, lambda line: None)
    assert [(job.formats, job.precisions, job.with_tokens) for job in jobs] == [(["onnx"], ["float32"], True)]
    assert export_place(str(place)) == place
    provide_export(str(place), place, lambda line: None)
    with open(checkpoint, "ab") as file:  # another checkpoint now
        file.write(b" ")
    shutil.rmtree(place)
    write_tiny_export(place, source={"checkpoint": checkpoint.name, "sha256": "that of another one"})
    with pytest.raises(ValueError, match="step_000000001.safetensors"):  # it is read again, and found damaged
        provide_export(str(tmp_path), place, lambda line: None)
