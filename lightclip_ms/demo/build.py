"""Writes the demo data as WebDataset shards: the same bytes for the same settings, whatever the number of workers."""

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
from lightclip_ms.demo.openmoji import ATTRIBUTION
from lightclip_ms.runtime.files import sha256

VERSION = 2  # raise when the same settings give other pictures or captions
MANIFEST = "manifest.json"
SHARD_SAMPLES = 1000
_EVALUATION_SPLITS = {
    "names": splits.name_samples,
    "unseen_names": splits.unseen_name_samples,
    "colours": splits.colour_samples,
}


@dataclass(frozen=True)
class Settings:
    """Numbers of training samples and of samples in each retrieval set, and the seed."""

    train: int = 24000
    retrieval: int = 500
    seed: int = 0

    def __post_init__(self):
        for name in ("train", "retrieval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


def is_complete(out: str | os.PathLike, settings: Settings) -> bool:
    """Whether `out` holds the data of these settings, every file with its recorded checksum."""
    manifest = _read_manifest(Path(out))
    if manifest is None or manifest.get("version") != VERSION or manifest.get("settings") != vars(settings):
        return False
    files = {name: Path(out, name) for name in manifest["files"]}
    return all(path.is_file() and sha256(path) == manifest["files"][name] for name, path in files.items())


def build_demo_data(out: str | os.PathLike, settings: Settings = Settings(), workers: int = 2) -> bool:
    """Write the demo data into the folder `out` unless it is already there; returns whether anything was written.

    The folder appears whole or not at all. ValueError if `out` exists and is not an earlier demo folder.
    """
    out = Path(out).absolute()
    if is_complete(out, settings):
        return False
    if out.exists() and _read_manifest(out) is None and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and holds no demo data: choose another --out, or remove it yourself")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write_all(aside, settings, workers)
        aside.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _read_manifest(out: Path) -> dict | None:
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def _write_all(out: Path, settings: Settings, workers: int) -> None:
    jobs = [(out, settings, name) for name in ("val", "unseen", *_EVALUATION_SPLITS)]
    jobs += [(out, settings, shard) for shard in range(-(-settings.train // SHARD_SAMPLES))]
    # Started afresh, not forked: the caller may hold threads, and a forked child would inherit their locks.
    with ProcessPoolExecutor(max(1, workers), mp_context=multiprocessing.get_context("spawn")) as pool:
        files = dict(pool.map(_write_job, jobs))
    texts = {"ATTRIBUTION.txt": ATTRIBUTION}
    for name, classes in splits.class_names().items():
        texts[f"{name}.txt"] = "\n".join(classes) + "\n"
        texts[f"{name}_templates.txt"] = "\n".join(splits.TEMPLATES[name]) + "\n"
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
        files[name] = sha256(out / name)
    manifest = {"version": VERSION, "settings": vars(settings), "files": files}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _write_job(job: tuple[Path, Settings, str | int]) -> tuple[str, str]:
    """Write one shard (a split's name, or the number of a training shard); returns its file name and checksum."""
    out, settings, which = job
    if isinstance(which, int):
        name, first = f"train-{which:05d}", which * SHARD_SAMPLES
        indices = range(first, min(first + SHARD_SAMPLES, settings.train))
        samples = (splits.train_sample(settings.seed, index) for index in indices)
    else:
        name, first = which, 0
        if which in _EVALUATION_SPLITS:
            samples = _EVALUATION_SPLITS[which](settings.seed)
        else:
            make = {"val": splits.val_samples, "unseen": splits.unseen_samples}[which]
            samples = make(settings.seed, settings.retrieval)
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
