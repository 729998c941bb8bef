"""A checkpoint to an exported folder: read, write aside, compare, rename."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.eval import parity
from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.towers import CheckpointTowers
from lightclip_ms.export import folder, mindir, open_clip
from lightclip_ms.export.exported import load_exported
from lightclip_ms.export.manifest import PRECISIONS, REPORT, TOWERS, is_export
from lightclip_ms.export.towers import image_tower, text_tower
from lightclip_ms.model.weights import token_projection
from lightclip_ms.runtime.files import replacing_folder, write_json

FORMATS = ("onnx", "mindir", "open_clip")
CALIBRATION_PICTURES = 64  # of 224 px they hold 2 GB of MobileNet-V2's activations
COMPARED_PICTURES = 1000


@dataclass(frozen=True)
class Job:
    """What to export, and what to compare it on: the options of `scripts/export.py`."""

    formats: list[str]
    precisions: list[str]
    pairs: str | None = None
    calibration: str | None = None
    max_loss: float = parity.MAX_LOSS
    with_tokens: bool = False


@dataclass(frozen=True)
class Samples:
    """Pictures float32 [N, 3, S, S], captions int32 [T, L], and the picture of each caption, int [T]."""

    pictures: np.ndarray
    ids: np.ndarray
    owners: np.ndarray


def export_checkpoint(path: str, out: str, job: Job, tell: Callable[[str], None]) -> list[str]:
    """Write the folder `out` if all of it is within the bounds; else nothing, and what was wrong.

    Args:
        path: of the checkpoint. tell: gets the lines to print.

    Returns:
        One line for each bound that was broken; none if the folder was written.

    Raises:
        ValueError, OSError: the checkpoint, the data or the folder cannot be used, or a tower cannot be written.
    """
    towers = CheckpointTowers(path)
    model = towers.model
    if "open_clip" in job.formats:
        open_clip.check_encoder(towers.config.image_encoder)
    projection = token_projection(path) if job.with_tokens else None
    graphs = {"image": image_tower(model.visual, projection), "text": text_tower(model.text, job.with_tokens)}
    calibration = _pictures(job.calibration, towers.preprocess) if job.calibration else None
    samples = _samples(job.pairs, towers)
    precisions = {tower: list(dict.fromkeys(job.precisions)) for tower in TOWERS}
    if "int8" in precisions["image"] and calibration is None:
        precisions["image"].remove("int8")
        tell("image tower: not in int8, which needs --calibration with pictures of the kind the model will see")
        precisions["image"] = precisions["image"] or ["float32"]
    source = {"checkpoint": Path(path).name, "sha256": towers.checksum}
    wrong: list[str] = []
    try:
        with replacing_folder(out, is_export) as aside:
            section = folder.write_towers(aside, graphs, precisions, calibration, tell)
            others = _write_others(aside, job.formats, model, towers.config, tell)
            folder.describe(aside, towers.config, model, source, section)
            report, wrong = _compare(aside, towers, precisions, others, samples, job)
            write_json(aside / REPORT, report)
            for line in describe_report(report):
                tell(line)
            if wrong:
                raise _BeyondBounds
    except _BeyondBounds:
        return [*wrong, f"{out}: not written"]
    tell(f"exported to {out}")
    return []


class _BeyondBounds(Exception):
    """Leaves `replacing_folder` without a result."""


def _write_others(aside: Path, formats: list[str], model, config, tell) -> dict[str, Callable]:
    """Write the formats besides ONNX; returns their encoders by name, (tower, array) -> features."""
    others = {}
    if "mindir" in formats:
        tell("mindir: compiling both towers")
        mindir.write_mindir(aside, model)
        others["mindir"] = mindir.open_mindir(aside)
    if "open_clip" in formats:
        open_clip.write_open_clip(aside, model, config)
        encode = open_clip.open_torch(aside)
        if encode is None:
            tell("open_clip: written, but not compared: torch is not installed")
        else:
            others["open_clip"] = encode
    return others


def _compare(aside, towers, precisions, others, samples: Samples, job: Job) -> tuple[dict, list[str]]:
    """The parity report, and the bounds that were broken."""
    model = towers.model
    expected = {
        "image": model.encode_image(samples.pictures).asnumpy(),
        "text": model.encode_text(samples.ids).asnumpy(),
    }
    inputs = {"image": samples.pictures, "text": samples.ids}
    original = parity.recalls(*(parity.unit_rows(expected[tower]) for tower in TOWERS), samples.owners)
    found = {}
    for precision in PRECISIONS:
        here = {tower: precision if precision in precisions[tower] else None for tower in TOWERS}
        if any(here.values()):
            exported = load_exported(aside, **here)
            encode = {"image": exported.encode_image, "text": exported.encode_text}
            found |= {(tower, precision): encode[tower](inputs[tower]) for tower in TOWERS if here[tower]}
    for name, encode in others.items():
        found |= {(tower, name): encode(tower, inputs[tower]) for tower in TOWERS}
    results, wrong = {}, []
    for (tower, kind), features in found.items():
        result = parity.compare_tower(tower, features, expected["image"], expected["text"], samples.owners)
        results[f"{tower}.{kind}"] = result
        precision = kind if kind in PRECISIONS else "float32"
        before = original if job.pairs else None
        wrong += parity.failures(f"{tower} tower, {kind}", precision, result, before, job.max_loss)
    report = {
        "pictures": len(samples.pictures),
        "captions": len(samples.ids),
        "pairs": job.pairs or "drawn shapes",
        "R@1": original,
        "towers": results,
        "bounds": {precision: vars(bounds) for precision, bounds in parity.BOUNDS.items()},
        "broken": wrong,
    }
    return report, wrong


def describe_report(report: dict) -> Iterator[str]:
    """Lines of a parity report for people."""
    recalls = report["R@1"]
    yield (
        f"compared on {report['pictures']} pictures and {report['captions']} captions ({report['pairs']}); MindSpore: "
        f"R@1 {recalls['image_to_text']:.1f} / {recalls['text_to_image']:.1f} % (image to text, text to image)"
    )
    yield "tower             relative error   least cosine   same top-1   R@1 with the other tower unchanged"
    for name, result in report["towers"].items():
        yield (
            f"{name:<16}{result['relative_error']:16.1e}{result['cosine']:15.7f}{result['top1_agreement']:11.1f} %   "
            f"{result['R@1']['image_to_text']:.1f} / {result['R@1']['text_to_image']:.1f} %"
        )


def _pictures(data: str, preprocess) -> np.ndarray:
    """Up to 64 readable pictures of a set, spread over it: float32 [n, 3, S, S]."""
    images = open_captions(data)
    chosen = np.unique(np.linspace(0, len(images) - 1, CALIBRATION_PICTURES).astype(int))
    loaded = [each for each in (_load(images, int(index), preprocess) for index in chosen) if each is not None]
    if not loaded:
        raise ValueError(f"{data}: none of {len(chosen)} pictures can be read")
    return np.stack(loaded)


def _load(images, index: int, preprocess) -> np.ndarray | None:
    try:
        return preprocess(images.read(index))
    except BadRecord:
        return None


def _samples(pairs: str | None, towers) -> Samples:
    """The first 1,000 readable pictures of the pairs with their captions, or the drawn ones."""
    if pairs is None:
        pictures, captions = parity.made_pairs()
        pixels = np.stack([towers.preprocess(picture) for picture in pictures])
        return Samples(pixels, towers.tokenize(captions), np.arange(len(captions)))
    images = open_captions(pairs)
    loaded = {
        index: pixels
        for index in range(min(len(images), COMPARED_PICTURES))
        if (pixels := _load(images, index, towers.preprocess)) is not None
    }
    rows = {index: row for row, index in enumerate(loaded)}
    kept = [caption for caption, image in enumerate(images.image_of_caption) if int(image) in rows]
    if not kept:
        raise ValueError(f"{pairs}: no pair of a readable picture and a caption")
    owners = np.array([rows[int(images.image_of_caption[caption])] for caption in kept])
    return Samples(np.stack(list(loaded.values())), towers.tokenize([images.captions[index] for index in kept]), owners)
