"""What the evaluation scripts share on the command line: the model's options and the result's provenance."""

import argparse
import os
import shlex
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.ranks import join_ranks
from lightclip_ms.eval.towers import CheckpointTowers
from lightclip_ms.export.exported import load_exported
from lightclip_ms.export.manifest import is_export
from lightclip_ms.runtime import backend
from lightclip_ms.runtime.files import replacing
from lightclip_ms.runtime.versions import versions


def add_checkpoint_option(parser: argparse.ArgumentParser) -> None:
    """--checkpoint."""
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="checkpoint file, a run's folder for its newest one, or a folder of scripts/export.py",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """--batch-size, --workers, --device."""
    parser.add_argument("--batch-size", type=int, default=64, help="images or texts at a time (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode images (default %(default)s)")
    parser.add_argument("--device", default="auto", choices=backend.DEVICES, help="default %(default)s")


def open_embedder(path: str, args: argparse.Namespace) -> Embedder:
    """A checkpoint or an exported folder as `add_run_options`' arguments say, on this process's share under `msrun`."""
    return _embedder(load_exported(path), args) if is_export(path) else open_checkpoint(path, args)


def open_checkpoint(path: str, args: argparse.Namespace) -> Embedder:
    """The same for what needs the model itself: an exported folder is refused."""
    path = find_checkpoint(path)
    backend.prepare_device(args.device)
    return _embedder(CheckpointTowers(path), args)


def _embedder(towers, args: argparse.Namespace) -> Embedder:
    ranks = join_ranks()
    progress = partial(tqdm, unit="batch", leave=False, disable=None if ranks.rank == 0 else True)
    return Embedder(towers, args.batch_size, args.workers, ranks, progress)


def find_checkpoint(path: str) -> str:
    """The file itself, or of a run's folder the newest training checkpoint, else the model for inference."""
    if not os.path.isdir(path):
        return path
    if is_export(path):
        raise ValueError(f"{path}: an exported model; this needs the checkpoint it was made from, or a run's folder")
    found = sorted(Path(path).glob("checkpoints/*.safetensors")) or sorted(Path(path).glob("*.safetensors"))
    if not found:
        raise FileNotFoundError(f"{path}: no *.safetensors in this folder or its checkpoints/")
    return str(found[-1])


def provenance(embedder: Embedder) -> dict:
    """Which model, how started, with which versions, when."""
    return {
        "model": embedder.towers.name,
        "checkpoint_sha256": embedder.towers.checksum,
        "command": f"{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}",
        "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def speeds(result: dict) -> str:
    """The speeds of a result of `run.py`."""
    rate = result["texts_per_second"]
    return f"{result['images_per_second']} images/s, " + (
        f"{rate} texts/s" if rate is not None else "texts from the cache"
    )


def left_out(dataset) -> dict:
    """What a set left out or mended on opening, by reason, for a result's file."""
    report = dataset.report
    return {"left_out": dict(report.counts), "mended": dict(report.notes), "examples": report.examples}


def print_left_out(dataset, skipped: str = "") -> None:
    """One line each for what was left out on opening, what was mended, and the images that could not be read."""
    for line in dataset.report.lines():
        print(line)
    if skipped:
        print(f"skipped: {skipped}")


def make_room(path: str | None) -> None:
    """Make the folder of an output file, if one is wanted: before the work, so that no hours end in a bad path."""
    if path:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)


def write_array(path: str, array) -> None:
    """Write a `.npy` file aside, then rename."""
    with replacing(path) as aside, open(aside, "wb") as file:
        np.save(file, array, allow_pickle=False)
