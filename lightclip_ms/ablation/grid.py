"""Grids: which runs a comparison consists of. Rows (methods or switches) x encoders x seeds; each run is a cell."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lightclip_ms.config.file import load_config

_NAME = re.compile(r"[^A-Za-z0-9.+-]+")
_KEYS = {
    "title": str,
    "config": str,
    "overrides": list,
    "rows": dict,
    "encoders": dict,
    "seeds": list,
    "baseline": str,
    "test": str,
    "test_kind": str,
    "minutes": (int, float),
}
_OPTIONAL = {"overrides", "encoders", "test"}
KINDS = ("retrieval", "zeroshot")


@dataclass(frozen=True)
class Cell:
    """One run: `overrides` of the grid's config, in rising order, and the name of its folder."""

    row: str
    encoder: str
    seed: int
    overrides: tuple[str, ...]
    folder: str


@dataclass(frozen=True)
class Grid:
    """A comparison.

    Attributes:
        title: of the report. config: path of the configuration that every cell starts from.
        overrides: `key=value` of every cell; rows, encoders: name -> `key=value`s.
        seeds: of `train.seed`. baseline: the row that the others are compared with.
        test: what is evaluated, captioned or labelled pictures as `test_kind` says ("retrieval" or "zeroshot").
        minutes: about what one cell takes, for the estimate before any has run.
    """

    title: str
    config: str
    rows: dict[str, list[str]]
    seeds: list[int]
    baseline: str
    test_kind: str
    minutes: float
    overrides: list[str] = field(default_factory=list)
    encoders: dict[str, list[str]] = field(default_factory=lambda: {"": []})
    test: str = ""

    def cells(self) -> list[Cell]:
        """Every run: all rows of the first seed and encoder first, so that a stopped grid can be read already."""
        return [
            Cell(
                row,
                encoder,
                seed,
                (*self.overrides, *changes, *switches, f"train.seed={seed}"),
                _folder(row, encoder, seed),
            )
            for seed in self.seeds
            for encoder, changes in self.encoders.items()
            for row, switches in self.rows.items()
        ]


def read_grid(path: str, overrides: tuple[str, ...] = (), test: str = "") -> Grid:
    """A grid from its YAML file, every cell's configuration checked.

    Args:
        overrides: more `key=value`s for every cell. test: replaces the grid's `test`.

    Raises:
        FileNotFoundError: no such file. ValueError: a key is missing, unknown or wrong; the message names it.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such grid file")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a grid is a mapping of keys to values")
    unknown, missing = values.keys() - _KEYS.keys(), _KEYS.keys() - values.keys() - _OPTIONAL
    if unknown or missing:
        wrong = f"unknown key {min(map(str, unknown))!r}" if unknown else f"key {min(missing)!r} is missing"
        raise ValueError(f"{path}: {wrong}; a grid has {', '.join(_KEYS)}")
    for key, value in values.items():
        if not isinstance(value, _KEYS[key]) or value in ({}, []):
            raise ValueError(f"{path}: {key}: {value!r} is not possible")
    for key in ("rows", "encoders"):
        for name, changes in values.get(key, {}).items():
            if not isinstance(changes, list) or not all(isinstance(change, str) for change in changes):
                raise ValueError(f"{path}: {key}.{name}: use a list of key=value, for example [method=clip]")
    if values["baseline"] not in values["rows"]:
        raise ValueError(f"{path}: baseline {values['baseline']!r} is none of the rows {', '.join(values['rows'])}")
    if values["test_kind"] not in KINDS:
        raise ValueError(f"{path}: test_kind: {values['test_kind']!r} is not possible: use {' or '.join(KINDS)}")
    values["config"] = os.path.join(os.path.dirname(path), values["config"])
    values["overrides"] = [*map(str, values.get("overrides", [])), *overrides]
    grid = Grid(**values | ({"test": test} if test else {}))
    if not grid.test:
        raise ValueError(f"{path}: no test data: give --test, or the key test")
    folders = [cell.folder for cell in grid.cells()]
    if len(set(folders)) < len(folders):
        raise ValueError(f"{path}: two cells have the same folder {max(folders, key=folders.count)!r}: rename a row")
    for cell in grid.cells():
        try:
            load_config(grid.config, cell.overrides)
        except ValueError as error:
            raise ValueError(f"{path}: row {cell.row!r}: {error}") from None
    return grid


def _folder(row: str, encoder: str, seed: int) -> str:
    return "_".join(filter(None, (_NAME.sub("-", row).strip("-"), _NAME.sub("-", encoder), f"seed{seed}")))
