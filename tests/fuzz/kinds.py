"""What is done with the inputs of each kind: `use` returns when one is accepted, and raises to refuse it.

ValueError and OSError are refusals: scripts turn them into one line and exit code 2. Anything else escapes, and so
does a result that breaks a promise, which is what the assertions are about.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mindspore import nn

from lightclip_ms.config.file import from_dict, load_config, to_dict
from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.eval_transform import eval_transform
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.tar_index import TarIndex
from lightclip_ms.data.transforms import TrainTransform
from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.sets.class_order import class_mapping, describe_classes, match_classes
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.model.factory import model_config
from lightclip_ms.model.weights import load_cell
from lightclip_ms.train.checkpoint import CheckpointFolder
from lightclip_ms.train.state import refuse_other_run, require_resumable
from tests.fuzz import make_checkpoints, make_configurations, make_folders, make_pictures, make_tables, make_tars


class Kind(NamedTuple):
    """`make(rng, empty folder)` builds an input, always the same from equal generators; `use` gets what it returns."""

    make: Callable[[np.random.Generator, Path], Any]
    use: Callable[[Any], None]


def use_picture(data: bytes) -> None:
    """Train and evaluation transforms: finite values of one shape, and a reason of one short line."""
    try:
        assert TrainTransform(64, AugmentConfig()).pixels(data, np.random.default_rng(0)).shape == (64, 64, 3)
        pixels = eval_transform(64)(data)
        assert pixels.shape == (3, 64, 64) and np.isfinite(pixels).all()
    except ValueError as error:
        assert len(str(error)) < 300 and "\n" not in str(error), f"no short line: {error}"
        raise


def _captions_or_nothing(source) -> list[str]:
    """Every caption of a source of pairs; bad records are counted elsewhere."""
    found = []
    for index in range(len(source)):
        assert source.key(index)
        try:
            found.append(source.read(index).caption)
        except BadRecord as error:
            assert "\n" not in error.reason
    return found


def _open_all(path: str, *attempts: Callable[[], Any]) -> list:
    """What each attempt returns, None for one that refused; raises the last refusal if all refused."""
    results, refusal = [], None
    for attempt in attempts:
        try:
            results.append(attempt())
        except (ValueError, OSError) as error:
            assert path in str(error) or os.path.dirname(path) in str(error), f"names no file: {error}"
            results.append(None)
            refusal = error
    if refusal is not None and not any(result is not None for result in results):
        raise refusal
    return results


def use_table(table: tuple[str, str]) -> None:
    """Training and evaluation find the same captions in a table."""
    path, separator = table
    train, val = _open_all(
        path,
        lambda: open_pairs(path, separator=separator),
        lambda: open_captions(path, separator=separator),
    )
    if train is None or val is None:
        return
    assert set(_captions_or_nothing(train)) == set(val.captions)
    for name in ("table row with a wrong number of fields", "table row with a stray quote"):
        for one, other in ((train.report.counts, val.report.counts), (train.report.notes, val.report.notes)):
            assert one[name] == other[name], name


def use_tar(path: str) -> None:
    """Every member lies within the file; pairs, captions and labels can be read or are bad records."""

    def members() -> int:
        index = TarIndex(path)
        for sample in range(len(index)):
            for extension, (_, offset, size) in index.members(sample).items():
                assert 0 <= offset <= offset + size <= os.path.getsize(path)
                assert len(index.read(sample, extension)) == size
        return len(index)

    def labels() -> int:
        dataset = open_labelled(path)
        return len(match_classes(dataset, [f"name {number}" for number in range(dataset.labels.max() + 1)]))

    def captions() -> int:
        dataset = open_captions(path)
        assert len(dataset.captions) == len(dataset.image_of_caption) >= len(dataset) > 0
        return sum(len(dataset.read(index)) for index in range(len(dataset)))

    _open_all(path, members, lambda: len(_captions_or_nothing(open_pairs(path))), captions, labels)


def use_folder(folder: tuple[str, list[str] | None]) -> None:
    """Everything that opens can be read or is a bad record, and each class gets a name of the list."""
    root, names = folder

    def pictures() -> int:
        images = open_images([root])
        read = 0
        for index in range(len(images)):
            try:
                read += len(images.read(index)) > 0
            except BadRecord as error:
                assert error.reason in ("image file too large", "missing image file", "unreadable")
        return read

    def classes() -> int:
        dataset = open_labelled(root)
        matched = match_classes(dataset, names)
        assert len(matched) == len(dataset.classes) == dataset.labels.max() + 1
        assert describe_classes(class_mapping(dataset, matched))
        return len(matched)

    try:
        pictures()
    finally:
        classes()


def _numbers(values):
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, (dict, list)):
            yield from _numbers(value)
        elif isinstance(value, (int, float)):
            yield value


def use_configuration(configuration: tuple[str, list[str]]) -> None:
    """What is accepted is finite, reads back as itself, and keeps texts as typed; what is refused is one line."""
    path, overrides = configuration
    try:
        config = load_config(path, overrides)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 700, f"no short line: {error}"
        raise
    values = to_dict(config)
    assert from_dict(values) == config and all(math.isfinite(number) for number in _numbers(values))
    for override in overrides:
        key, _, value = override.partition("=")
        if key in ("data.train", "output_dir") and key == overrides[-1].partition("=")[0]:
            typed = overrides[-1].partition("=")[2]
            assert (values["output_dir"] if key == "output_dir" else values["data"]["train"]) == typed


def use_checkpoints(folder: str) -> None:
    """The newest usable one is found, the next save stays, and what a model takes is finite and of its type."""
    checkpoints, warnings = CheckpointFolder(folder, keep=1), []
    found = checkpoints.latest(warnings.append, require_resumable)
    assert found is not None, "the good checkpoint of step 100 is passed over"
    assert all("\n" not in line and len(line) < 700 for line in warnings)
    path, arrays, header = found
    assert (path.name == "step_000000100.safetensors") == bool(warnings)
    written = checkpoints.write(300, arrays, header)
    assert written.exists() and checkpoints.latest(warnings.append)[0] == written
    try:
        model_config(header)
        refuse_other_run(
            header, from_dict({"model": {"name": "lightclip_demo"}, "train": {"pack_captions": False}}), 1, "", path
        )
        cell = nn.Dense(3, 2, has_bias=False)
        load_cell(cell, "model", arrays, path)
        assert np.isfinite(cell.weight.asnumpy()).all()
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 700, f"no short line: {error}"
        raise
    if warnings:
        raise ValueError(warnings[0])


KINDS: dict[str, Kind] = {
    "tables": Kind(make_tables.make, use_table),
    "tars": Kind(make_tars.make, use_tar),
    "pictures": Kind(make_pictures.make, use_picture),
    "folders": Kind(make_folders.make, use_folder),
    "configurations": Kind(make_configurations.make, use_configuration),
    "checkpoints": Kind(make_checkpoints.make, use_checkpoints),
}
