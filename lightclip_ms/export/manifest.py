"""`manifest.json` of an exported folder: everything but weights, and the checksums of the files beside it.

See docs/deploy.md for the keys. Nothing here needs MindSpore.
"""

import hashlib
import json
import os
from pathlib import Path

from lightclip_ms.runtime.files import sha256, write_json

FORMAT, VERSION = "lightclip_ms export", 1
NAME, REPORT = "manifest.json", "parity.json"
TOWERS = ("image", "text")
PRECISIONS = ("float32", "float16", "int8")  # the first that is there is the default
OPSET = 17


def is_export(path: str | os.PathLike) -> bool:
    """Whether this is a folder with a manifest, whole or not."""
    return os.path.isfile(os.path.join(path, NAME))


def write_manifest(folder: Path, content: dict) -> None:
    """Write the manifest of the files that are in `folder`; adds format, version, checksums and digest."""
    names = sorted(path.name for path in folder.iterdir() if path.name not in (NAME, REPORT))
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}
    content = {"format": FORMAT, "version": VERSION, **content, "files": files}
    write_json(folder / NAME, content | {"digest": _digest(content)})


def read_manifest(folder: str | os.PathLike) -> dict:
    """The manifest, checked against its own digest.

    Raises:
        FileNotFoundError: no such folder, or no export. ValueError: changed, or written by a newer version.
    """
    path = os.path.join(folder, NAME)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{folder}: no exported model ({NAME} is missing); scripts/export.py makes one")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path}: not valid JSON; export the checkpoint again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: not the manifest of an exported model")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path}: of format version {content.get('version')}, this package reads {VERSION}; update the package or "
            "export the checkpoint again"
        )
    digest = content.pop("digest", None)
    if digest != _digest(content):
        raise ValueError(f"{path}: the manifest was changed after it was written; export the checkpoint again")
    return content


def check_file(folder: str | os.PathLike, manifest: dict, name: str) -> str:
    """Path of a file of the export whose size and checksum are those of the manifest.

    Raises:
        FileNotFoundError: it is missing. ValueError: it was changed.
    """
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: missing from the exported folder; copy the whole folder, or export again")
    wanted = manifest["files"][name]
    size = os.path.getsize(path)
    if size != wanted["bytes"]:
        raise ValueError(
            f"{path}: has {size} bytes, {NAME} says {wanted['bytes']}; copy the file again, or export again"
        )
    if sha256(path) != wanted["sha256"]:
        raise ValueError(f"{path}: its checksum differs from {NAME}'s; copy the file again, or export again")
    return path


def choose_precision(manifest: dict, tower: str, precision: str | None) -> str:
    """The precision of a tower that is loaded: the one named, else the tower's default.

    Raises:
        ValueError: the folder does not have it.
    """
    present = manifest["onnx"][tower]["files"]
    precision = precision or manifest["onnx"][tower]["default"]
    if precision not in present:
        raise ValueError(f"the {tower} tower was not exported in {precision!r}; there is {', '.join(present)}")
    return precision


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
