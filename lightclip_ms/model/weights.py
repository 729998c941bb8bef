"""Weights on disk: one safetensors file per checkpoint with a digest over all of it, and how Cells load them.

Names are `model/...` (what inference needs), `objective/...` (training-only parts) and `update/...` (moments, loss
scale). MindSpore's own checkpoints are deleted before they are rewritten, and load with flipped bits unless a check
is asked for.
"""

import hashlib
import json
import os

import numpy as np
import safetensors
from mindspore import Tensor, nn
from safetensors.numpy import save

from lightclip_ms.runtime.files import replacing

FORMAT = "lightclip_ms"
VERSION = 2
# Parts that were called otherwise in earlier versions of the format.
_RENAMED = {1: (("mlm_heads.", "mlm.heads."), ("token_projection.", "token.projection."))}
TOKEN_PROJECTION = "objective/token.projection.projection.weight"
TOKEN_PROJECTIONS = (TOKEN_PROJECTION, "objective/filip.projection.projection.weight")
_KINDS = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL")  # of arrays; those that numpy knows too


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
    text = json.dumps(header, sort_keys=True)
    metadata = {"format": FORMAT, "version": str(VERSION), "header": text, "digest": _digest(arrays, text)}
    with replacing(path) as aside:
        aside.write_bytes(save(arrays, metadata))


def read_header(path: str | os.PathLike) -> dict:
    """The header of a checkpoint, without reading its weights: configuration, counters, versions, kind.

    Raises:
        FileNotFoundError: no such file. ValueError: truncated, not ours, or of a newer version.
    """
    with _open(path) as file:
        return _header(file, path)[1]


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and header of a checkpoint.

    Raises:
        FileNotFoundError: no such file. ValueError: truncated, damaged, not ours, of a newer version, or too large.
    """
    with _open(path) as file:
        metadata, header = _header(file, path)
        arrays = {name: _array(file, name, path) for name in file.keys()}
    if _digest(arrays, metadata["header"]) != metadata["digest"]:
        raise ValueError(f"{path}: the content does not match its digest, the file is damaged; use an earlier one")
    return _rename(arrays, int(metadata["version"])), header


def _open(path: str | os.PathLike):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such checkpoint")
    _check_size(path)
    try:
        return safetensors.safe_open(path, framework="numpy")
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({_short(error)}); use an earlier checkpoint. Other formats, such "
            "as .ckpt and .pth, are not read"
        ) from None
    except OSError as error:
        raise OSError(f"{path}: could not be read: {error.strerror or error}") from None


def _rename(arrays: dict[str, np.ndarray], version: int) -> dict[str, np.ndarray]:
    """Arrays under the names of the present format."""
    for old, new in _RENAMED.get(version, ()):
        arrays = {name.replace(old, new): array for name, array in arrays.items()}
    return arrays


def _header(file, path) -> tuple[dict[str, str], dict]:
    """What write_checkpoint put beside the arrays, and the header in it."""
    metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of lightclip_ms")
    version = metadata.get("version", "")
    if not (version.isascii() and version.isdigit() and {"header", "digest"} <= metadata.keys()):
        raise ValueError(f"{path}: damaged: it lacks its version, header or digest")
    if len(version) > 9 or int(version) > VERSION:
        raise ValueError(
            f"{path}: written by a newer lightclip_ms (format {version[:20]}, this one reads {VERSION}); "
            "update the package"
        )
    try:
        header = json.loads(metadata["header"])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: damaged: its header is no JSON object")
    return metadata, header


def _check_size(path) -> None:
    """Refuse what could not be held in memory twice, as arrays and as parameters: a sparse file may claim any size."""
    size, memory = os.path.getsize(path), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory / 2:
        raise ValueError(
            f"{path}: {size / 1e9:,.1f} GB of weights, and this machine has {memory / 1e9:,.1f} GB of memory"
        )


def _array(file, name: str, path) -> np.ndarray:
    kind = file.get_slice(name).get_dtype()
    if kind not in _KINDS:
        raise ValueError(f"{path}: {name[:80]!r} is of type {kind}; supported are {', '.join(_KINDS)}")
    try:
        return file.get_tensor(name)
    except (safetensors.SafetensorError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: {name[:80]!r} cannot be read ({_short(error)})") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def cell_arrays(cell: nn.Cell, prefix: str, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Copies of a Cell's parameters as `prefix/place in it`, except those whose place starts with one of `skip`."""
    return {
        f"{prefix}/{name}": parameter.asnumpy().copy()
        for name, parameter in cell.parameters_and_names()
        if not name.startswith(skip)
    }


def load_cell(cell: nn.Cell, prefix: str, arrays: dict[str, np.ndarray], source, skip: tuple[str, ...] = ()) -> None:
    """Set a Cell's parameters from `cell_arrays`: all of them, or none if it raises.

    Raises:
        ValueError: a parameter is missing, left over, of another shape or type, or not finite; the message names it.
    """
    given = {name.removeprefix(prefix + "/"): array for name, array in arrays.items() if name.startswith(prefix + "/")}
    wanted = {name: parameter for name, parameter in cell.parameters_and_names() if not name.startswith(skip)}
    expected = {name: (tuple(parameter.shape), parameter.asnumpy().dtype) for name, parameter in wanted.items()}
    check_arrays(given, expected, source)
    for name, parameter in wanted.items():
        parameter.set_data(Tensor(given[name]))


def check_arrays(given: dict[str, np.ndarray], expected: dict[str, tuple[tuple[int, ...], np.dtype]], source) -> None:
    """Refuse arrays that are not those expected.

    Args:
        given: arrays by name.
        expected: shape and dtype of each, by name.
        source: the file, for messages.

    Raises:
        ValueError: an array is missing, left over, of another shape or type, or not finite; the message names it.
    """
    wrong = sorted(given.keys() ^ expected.keys())
    wrong += [name for name in expected if name in given and expected[name][0] != given[name].shape]
    if wrong:
        name = wrong[0]
        found = f"shape {given[name].shape}" if name in given else "nothing"
        wanted = f"shape {expected[name][0]}" if name in expected else "nothing"
        raise ValueError(
            f"{source}: checkpoint of another architecture: {name} has {found}, this model expects "
            f"{wanted} ({len(wrong)} parameters differ)"
        )
    for name, (_, kind) in expected.items():
        if given[name].dtype != kind:
            raise ValueError(f"{source}: {name} is of type {given[name].dtype}, this model expects {kind}")
        if given[name].dtype.kind == "f" and not np.isfinite(given[name]).all():
            raise ValueError(f"{source}: {name} holds values that are not finite; use an earlier checkpoint")


def token_projection(path: str | os.PathLike) -> np.ndarray | None:
    """The training-only map of image tokens to the text width, [D, C].

    None for an inference checkpoint, or one of a run whose objective compares no tokens.
    """
    arrays, _ = read_checkpoint(path)
    return next((arrays[name] for name in TOKEN_PROJECTIONS if name in arrays), None)
