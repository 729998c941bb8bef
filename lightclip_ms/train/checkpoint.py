"""Checkpoints: one safetensors file each, written aside and renamed, with a digest over everything it holds.

Names are `model/...` (what inference needs), `objective/...` (training-only parts) and `update/...` (moments, loss scale). MindSpore's own
checkpoints are removed before they are rewritten, and load with flipped bits unless told otherwise.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import mindspore as ms
import numpy as np
import safetensors
from mindspore import Tensor, nn
from safetensors.numpy import save

FORMAT = "lightclip_ms"
VERSION = 1
_NAME = re.compile(r"step_(\d{9})\.safetensors")


def _digest(arrays: dict[str, np.ndarray], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def write_checkpoint(path: str | os.PathLike, arrays: dict[str, np.ndarray], header: dict) -> None:
    """Write `arrays` and the JSON-able `header` so that `path` is the old file or the whole new one, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; a file at `path` is untouched.
    """
    path = Path(path)
    text = json.dumps(header, sort_keys=True)
    metadata = {"format": FORMAT, "version": str(VERSION), "header": text, "digest": _digest(arrays, text)}
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(save(arrays, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(f"{path}: the checkpoint could not be written: {error.strerror or error}") from error


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and header of a checkpoint.

    Raises:
        FileNotFoundError: no such file. ValueError: truncated, damaged, not ours, or of a newer version.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); use an earlier checkpoint. Other formats, such "
            "as .ckpt and .pth, are not read"
        ) from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of lightclip_ms")
    if int(metadata["version"]) > VERSION:
        raise ValueError(
            f"{path}: written by a newer lightclip_ms (format {metadata['version']}, this one reads "
            f"{VERSION}); update the package"
        )
    if _digest(arrays, metadata["header"]) != metadata["digest"]:
        raise ValueError(f"{path}: the content does not match its digest, the file is damaged; use an earlier one")
    return arrays, json.loads(metadata["header"])


def cell_arrays(cell: nn.Cell, prefix: str, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Copies of a Cell's parameters by their place in it, `prefix/` before each; without names that start with one of `skip`."""
    return {
        f"{prefix}/{name}": parameter.asnumpy().copy()
        for name, parameter in cell.parameters_and_names()
        if not name.startswith(skip)
    }


def load_cell(cell: nn.Cell, prefix: str, arrays: dict[str, np.ndarray], source, skip: tuple[str, ...] = ()) -> None:
    """Set a Cell's parameters from `cell_arrays`.

    Raises:
        ValueError: a parameter is missing, left over, or of another shape; the message names it.
    """
    given = {name.removeprefix(prefix + "/"): array for name, array in arrays.items() if name.startswith(prefix + "/")}
    wanted = {name: parameter for name, parameter in cell.parameters_and_names() if not name.startswith(skip)}
    wrong = sorted(given.keys() ^ wanted.keys())
    wrong += [name for name in wanted if name in given and tuple(wanted[name].shape) != given[name].shape]
    if wrong:
        name = wrong[0]
        found = f"shape {given[name].shape}" if name in given else "nothing"
        expected = f"shape {tuple(wanted[name].shape)}" if name in wanted else "nothing"
        raise ValueError(
            f"{source}: checkpoint of another architecture: {name} has {found}, this model expects "
            f"{expected} ({len(wrong)} parameters differ)"
        )
    for name, parameter in wanted.items():
        parameter.set_data(Tensor(given[name].astype(ms.dtype_to_nptype(parameter.dtype))))


def load_model_weights(model: nn.Cell, path: str | os.PathLike) -> None:
    """Set the weights of a `LightCLIP` from a training checkpoint or an inference export."""
    arrays, _ = read_checkpoint(path)
    load_cell(model, "model", arrays, path)


def load_model(path: str | os.PathLike):
    """The `LightCLIP` of a checkpoint in evaluation mode, and its `ModelConfig`."""
    from lightclip_ms.config_file import from_dict
    from lightclip_ms.factory import create_model

    arrays, header = read_checkpoint(path)
    config = from_dict({"model": header["config"]["model"]}).model
    model = create_model(config)
    load_cell(model, "model", arrays, path)
    return model.set_train(False), config


class CheckpointFolder:
    """The checkpoints of one run, `step_000000123.safetensors`; the last `keep` stay.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3):
        self.folder = Path(folder)
        self.keep = keep

    def paths(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("*.safetensors") if _NAME.fullmatch(path.name))

    def write(self, global_step: int, arrays: dict[str, np.ndarray], header: dict) -> Path:
        """Write one checkpoint, then remove those beyond the last `keep` and what a killed run left aside."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{global_step:09d}.safetensors"
        write_checkpoint(path, arrays, header)
        for old in self.paths()[: -self.keep]:
            old.unlink()
        for aside in self.folder.glob(".*.tmp"):
            aside.unlink()
        return path

    def latest(self, warn=print) -> tuple[Path, dict[str, np.ndarray], dict] | None:
        """The newest checkpoint that is whole; `warn` is told of each damaged one that is passed over."""
        for path in reversed(self.paths()):
            try:
                return (path, *read_checkpoint(path))
            except ValueError as error:
                warn(f"passed over: {error}")
        return None
