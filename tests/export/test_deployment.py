"""requirements-deploy.txt is all that an exported folder needs, in a new environment without MindSpore."""

import os
import subprocess
import sys
import venv

from lightclip_ms.eval.export import Job, export_checkpoint
from tests import ROOT
from tests.export.small_models import write_small_checkpoint

CODE = """
import sys
import lightclip_ms
from PIL import Image
towers = lightclip_ms.load_exported(sys.argv[1])
image = towers.encode_image(towers.transform(Image.new("RGB", (70, 50), "red"))[None], normalize=True)
text = towers.encode_text(towers.tokenizer(["a red square", "caf\\u00e9"]), normalize=True)
print(lightclip_ms.__file__, *(image @ text.T)[0], "mindspore" in sys.modules)
"""


def run(*command, **options) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_environment_encodes_a_picture_and_a_text(tmp_path):
    checkpoint = write_small_checkpoint(tmp_path / "small.safetensors")
    assert (
        export_checkpoint(checkpoint, str(tmp_path / "exported"), Job(["onnx"], ["float32"]), lambda line: None) == []
    )
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # A copy: building the package in place would leave its build folder in the checkout.
    run(
        "cp",
        "-r",
        *(ROOT / name for name in ("lightclip_ms", "pyproject.toml", "README.md", "requirements.txt")),
        tmp_path,
    )
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, "-r", ROOT / "requirements-deploy.txt", env=environment)
    run(*install, "--no-deps", tmp_path, env=environment)
    installed = run(python, "-c", CODE, tmp_path / "exported", cwd=tmp_path / "exported", env=environment).split()
    assert installed[0].startswith(str(tmp_path / "venv")) and installed[-1] == "False"
    here = run(sys.executable, "-c", CODE, tmp_path / "exported", env={**environment, "PYTHONPATH": str(ROOT)}).split()
    assert [f"{float(value):.4f}" for value in installed[1:3]] == [f"{float(value):.4f}" for value in here[1:3]]
