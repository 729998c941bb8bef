"""What is done with the inputs of each kind: `use` returns when one is accepted, and raises to refuse it.

ValueError and OSError are refusals: scripts turn them into one line and exit code 2. Anything else escapes, and so
does a result that breaks a promise, which is what the assertions are about.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
from tests.fuzz import make_folders, make_pictures, make_tables, make_tars


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


KINDS: dict[str, Kind] = {
    "tables": Kind(make_tables.make, use_table),
    "tars": Kind(make_tars.make, use_tar),
    "pictures": Kind(make_pictures.make, use_picture),
    "folders": Kind(make_folders.make, use_folder),
}
