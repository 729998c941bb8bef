"""The exported folder that the page shows: the one that is named, or one made from a checkpoint or a run's folder."""

import os
from collections.abc import Callable
from pathlib import Path

from lightclip_ms.export.manifest import is_export, read_manifest
from lightclip_ms.runtime.files import sha256

FOLDER = "exported"


def export_place(path: str) -> Path:
    """Where the exported folder of `path` is or will be: itself, or `exported/` in its folder.

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    if is_export(path):
        return Path(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such exported folder, checkpoint or run's folder")
    return Path(path if os.path.isdir(path) else os.path.dirname(path), FOLDER)


def provide_export(path: str, place: Path, tell: Callable[[str], None]) -> None:
    """Export the checkpoint of `path` to `place`, unless `place` is `path` or an export of that checkpoint.

    Args:
        path: of an exported folder, a checkpoint or a run's folder. place: as `export_place` says.
        tell: gets the lines of the export.

    Raises:
        FileNotFoundError: `path` is none of these. ValueError, OSError: it cannot be exported.
    """
    if is_export(path):
        return
    # These load MindSpore, which takes seconds and which an exported folder does without.
    from lightclip_ms.eval.command import find_checkpoint
    from lightclip_ms.eval.export import Job, export_checkpoint
    from lightclip_ms.model.weights import TOKEN_PROJECTION, read_checkpoint
    from lightclip_ms.runtime.backend import prepare_device

    checkpoint = find_checkpoint(path)
    if is_export(place) and read_manifest(place)["source"]["sha256"] == sha256(checkpoint):
        return
    # Without it (no token alignment, or a file for inference only) the page matches no words.
    with_tokens = TOKEN_PROJECTION in read_checkpoint(checkpoint)[0]
    tell(f"exporting {checkpoint} to {place}")
    prepare_device("cpu")
    wrong = export_checkpoint(checkpoint, str(place), Job(["onnx"], ["float32"], with_tokens=with_tokens), tell)
    if wrong:
        raise ValueError("; ".join(wrong))
