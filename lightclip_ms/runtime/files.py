"""Files that are never half-written: written aside, synced, then renamed. Also checksums and JSON lines."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give the block a path to write to; when the block ends well, that file becomes `path` in one step.

    The file at `path`, if any, stays as it was until then, and for good if the block raises.

    Raises:
        OSError: the disk is full or the folder cannot be written; the message names `path`.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        with open(aside, "rb+") as file:  # data must reach the disk before the name does
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise OSError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone, or have become read-only
            aside.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replace `path` by `text` in UTF-8; bytes of file names that are not UTF-8 become escapes, which JSON reads back.

    Raises OSError as `replacing`.
    """
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike, content) -> None:
    """Replace `path` by `content` as indented JSON. Raises OSError as `replacing`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def append_text(path: str | os.PathLike, text: str) -> None:
    """Add to the end of a log. Raises OSError that names the file."""
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise OSError(f"{path}: could not be written: {error.strerror or error}") from error


def read_json_lines(path: str | os.PathLike) -> list[dict]:
    """Records of a file with one JSON object a line; none if there is no file.

    A line that is not JSON is left out: a killed process may have been writing it.
    """
    if not os.path.isfile(path):
        return []
    records = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict)]


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """Give the block an empty folder to fill; when the block ends well, that folder becomes `path`.

    A folder at `path` stays as it was until then, and for good if the block raises.

    Args:
        may_replace: whether a folder that is not empty may be replaced.

    Raises:
        FileExistsError: `path` is a file, or a folder that may not be replaced; nothing was written. OSError: the disk
            is full or the folder cannot be written.
    """
    path = Path(os.path.abspath(path))
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or may_replace(path))):
        raise FileExistsError(f"{path}: exists and is not replaced; choose another folder or remove it")
    aside, old = (path.with_name(f".{path.name}.{os.getpid()}.{ending}") for ending in ("tmp", "old"))
    try:
        aside.mkdir(parents=True)
        yield aside
        for file in filter(Path.is_file, aside.rglob("*")):
            with open(file, "rb+") as written:  # data must reach the disk before the name does
                os.fsync(written.fileno())
        if path.exists():
            os.replace(path, old)
        os.replace(aside, path)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
