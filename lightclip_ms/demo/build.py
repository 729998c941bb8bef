"""Writes the demo data as WebDataset shards: the same bytes for the same settings, whatever the number of workers."""

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lightclip_ms.demo import splits
from lightclip_ms.demo.compose import draw_scene
from lightclip_ms.demo.openmoji import ATTRIBUTION, THINGS
from lightclip_ms.runtime.files import sha256

VERSION = 5  # raise when the same settings give other pictures or captions
KIND = "lightclip_ms demo data"  # in the manifest: other programs' folders are never touched
MANIFEST = "manifest.json"
SHARD_SAMPLES = 1000
_EVALUATION_SPLITS = {
    "val": lambda settings: splits.val_samples(settings.seed, settings.retrieval, settings.things),
    "unseen": lambda settings: splits.unseen_samples(settings.seed, settings.retrieval),
    "names": lambda settings: splits.name_samples(settings.seed, settings.things),
    "unseen_names": lambda settings: splits.unseen_name_samples(settings.seed),
    "compounds": lambda settings: splits.compound_samples(settings.seed),
    "colours": lambda settings: splits.colour_samples(settings.seed, settings.things),
}


@dataclass(frozen=True)
class Settings:
    """Numbers of training samples, of samples in each retrieval set and of listed emojis in use, and the seed."""

    train: int = 30000
    retrieval: int = 500
    seed: int = 0
    things: int = THINGS

    def __post_init__(self):
        for name in ("train", "retrieval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 10 <= self.things <= THINGS:
            raise ValueError(f"things must be 10 to {THINGS}, got {self.things}")


def is_complete(out: str | os.PathLike, settings: Settings) -> bool:
    """Whether `out` holds the data of these settings, every file with its recorded checksum."""
    out = Path(out)
    manifest = _read_manifest(out)
    if manifest is None or manifest["version"] != VERSION or manifest.get("settings") != vars(settings):
        return False
    return all(_is_as_written(out / name, checksum) for name, checksum in manifest["files"].items())


def build_demo_data(out: str | os.PathLike, settings: Settings = Settings(), workers: int = 2) -> bool:
    """Write the demo data into the folder `out` unless it is already there; returns whether anything was written.

    The folder appears whole or not at all. An earlier demo folder is replaced if it holds only the files that its
    manifest lists, each as it was written.

    Raises:
        ValueError: `out` holds anything else; nothing is touched. OSError: it cannot be written.
    """
    out = Path(out).resolve()  # a link to a folder on a larger disk stays a link
    if is_complete(out, settings):
        return False
    _own_files(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        new = aside / "new"
        new.mkdir()
        _write_all(new, settings, workers)
        new.chmod(0o755)
        _replace_folder(out, new, aside / "old")
    finally:
        shutil.rmtree(aside / "new", ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: something of the user's appeared in the old folder meanwhile
            aside.rmdir()
    return True


def _replace_folder(out: Path, new: Path, old: Path) -> None:
    """Put `new` at `out`, and remove what was there file by file, as its manifest lists them.

    Raises:
        ValueError: something else appeared in `out` meanwhile; it is left as it was.
    """
    own = _own_files(out)
    if not own and not out.exists():
        os.rename(new, out)
        return
    os.rename(out, old)
    os.rename(new, out)
    for name in own:
        (old / name).unlink()
    try:
        old.rmdir()
    except OSError:
        raise ValueError(f"{out}: files appeared in it while it was replaced; they are in {old}") from None


def _own_files(out: Path) -> list[str]:
    """Names of the files in `out`, all of them this program's; none if it is empty or not there.

    Raises:
        ValueError: a file that this program did not write, or not so; the message names it.
    """
    if not os.path.lexists(out):
        return []
    advice = "choose another --out, or remove it yourself"
    if not out.is_dir():
        raise ValueError(f"{out} exists and is no folder: {advice}")
    names = sorted(os.listdir(out))
    manifest = _read_manifest(out)
    if names and manifest is None:
        raise ValueError(f"{out} exists and holds no demo data of this program's current kind: {advice}")
    for name in names:
        if name != MANIFEST and name not in manifest["files"]:
            raise ValueError(f"{out / name} is no file of the demo data: {advice}")
        if name != MANIFEST and not _is_as_written(out / name, manifest["files"][name]):
            raise ValueError(f"{out / name} is not as it was written: {advice}")
    return names


def _is_as_written(path: Path, checksum: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256(path) == checksum


def _read_manifest(out: Path) -> dict | None:
    """The manifest of a folder of this kind, its names and checksums being text; None for any other folder."""
    path = out / MANIFEST
    try:
        if path.is_symlink() or not path.is_file():
            return None
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND or not isinstance(manifest.get("files"), dict):
        return None
    version = manifest.get("version")
    right = type(version) is int and 3 <= version <= VERSION  # the kind came with version 3
    right = right and all(isinstance(checksum, str) for checksum in manifest["files"].values())
    right = right and all(os.path.basename(name) == name != "" for name in manifest["files"])
    return manifest if right else None


def _write_all(out: Path, settings: Settings, workers: int) -> None:
    jobs = [(out, settings, name) for name in _EVALUATION_SPLITS]
    jobs += [(out, settings, shard) for shard in range(-(-settings.train // SHARD_SAMPLES))]
    # Started afresh, not forked: the caller may hold threads, and a forked child would inherit their locks.
    with ProcessPoolExecutor(max(1, workers), mp_context=multiprocessing.get_context("spawn")) as pool:
        files = dict(pool.map(_write_job, jobs))
    texts = {"ATTRIBUTION.txt": ATTRIBUTION}
    for name, classes in splits.class_names(settings.things).items():
        texts[f"{name}.txt"] = "\n".join(classes) + "\n"
        texts[f"{name}_templates.txt"] = "\n".join(splits.TEMPLATES[name]) + "\n"
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
        files[name] = sha256(out / name)
    manifest = {"kind": KIND, "version": VERSION, "settings": vars(settings), "files": files}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _write_job(job: tuple[Path, Settings, str | int]) -> tuple[str, str]:
    """Write one shard (a split's name, or the number of a training shard); returns its file name and checksum."""
    out, settings, which = job
    if isinstance(which, int):
        name, first = f"train-{which:05d}", which * SHARD_SAMPLES
        indices = range(first, min(first + SHARD_SAMPLES, settings.train))
        samples = (splits.train_sample(settings.seed, index, settings.things) for index in indices)
    else:
        name, first, samples = which, 0, _EVALUATION_SPLITS[which](settings)
    path = out / f"{name}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index, sample in enumerate(samples, first):
            _add_sample(tar, f"{name.split('-')[0]}-{index:06d}", sample)
    return path.name, sha256(path)


def _add_sample(tar: tarfile.TarFile, key: str, sample: splits.Sample) -> None:
    buffer = io.BytesIO()
    draw_scene(sample.scene).save(buffer, "JPEG", quality=90, subsampling=0)
    described = {
        "background": sample.scene.background,
        "caption": sample.caption,
        "emojis": [
            {
                "name": item.emoji.name,
                "noun": item.emoji.noun,
                "size": item.size,
                "rotation": item.rotation,
                "place": item.place,
            }
            for item in sample.scene.items
        ],
    }
    parts = {
        "jpg": buffer.getvalue(),
        "json": json.dumps(described, sort_keys=True).encode(),
        "txt": sample.caption.encode(),
    }
    if sample.label is not None:
        parts["cls"] = str(sample.label).encode()
    for extension, content in parts.items():
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
