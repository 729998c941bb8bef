"""Grids: their cells, and every mistake named before anything runs."""

import glob
from pathlib import Path

import pytest
import yaml

from lightclip_ms.ablation.grid import read_grid
from lightclip_ms.config.file import load_config
from tests import ROOT

GRIDS = sorted(glob.glob(str(ROOT / "configs" / "grids" / "*.yaml")))
GOOD = {
    "title": "a test",
    "config": str(ROOT / "configs" / "demo.yaml"),
    "rows": {"CLIP": ["method=clip"], "+ Soft": ["method=clip", "loss.labels=progressive"]},
    "encoders": {"A": ["model.text_layers=4"], "B": ["model.text_layers=8"]},
    "seeds": [0, 1],
    "baseline": "CLIP",
    "test": "val.tar",
    "test_kind": "retrieval",
    "minutes": 3,
}


def write(folder, **changes):
    path = folder / "grid.yaml"
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


def test_cells_are_rows_by_encoders_by_seeds(tmp_path):
    grid = read_grid(write(tmp_path, overrides=["train.epochs=2"]), ("data.train=x.tar",), "other.tar")
    cells = grid.cells()
    assert len(cells) == len({cell.folder for cell in cells}) == 8 and grid.test == "other.tar"
    assert [cell.folder for cell in cells[:4]] == ["CLIP_A_seed0", "+-Soft_A_seed0", "CLIP_B_seed0", "+-Soft_B_seed0"]
    config = load_config(grid.config, cells[-1].overrides)
    assert (config.train.seed, config.train.epochs, config.model.text_layers) == (1, 2, 8)
    assert (config.loss.labels, config.loss.token_weight, config.data.train) == ("progressive", 0.0, "x.tar")


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: Path(path).stem)
def test_every_grid_of_the_project_is_valid(path):
    grid = read_grid(path, ("data.train=x.tar",), "y")
    assert len(grid.cells()) == len(grid.rows) * len(grid.encoders) * len(grid.seeds)


def test_there_is_a_grid_for_each_of_the_papers_tables():
    stems = {Path(path).stem for path in GRIDS}
    assert {"table1", "tables2_3", "table4", "figure1c", "components_laptop", "methods_laptop"} == stems


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"rows": None}, "key 'rows' is missing"),
        ({"row": {}}, "unknown key 'row'"),
        ({"seeds": []}, r"seeds: \[\] is not possible"),
        ({"rows": {"CLIP": "method=clip"}}, "rows.CLIP: use a list of key=value"),
        ({"baseline": "SLIP"}, "baseline 'SLIP' is none of the rows CLIP, "),
        ({"test_kind": "both"}, "test_kind: .both. is not possible: use retrieval or zeroshot"),
        ({"test": None}, "no test data: give --test"),
        ({"rows": {"CLIP": ["method=clip"], "x": ["method=clap"]}}, "row 'x': .*did you mean clip"),
        ({"rows": {"CLIP": [], "C": [], "C ": []}}, "two cells have the same folder 'C_A_seed0'"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, words):
    with pytest.raises(ValueError, match=f"grid.yaml: {words}"):
        read_grid(write(tmp_path, **changes))


def test_files_that_are_no_grid(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such grid file"):
        read_grid(str(tmp_path / "none.yaml"))
    for text in ("a: [", "- 1", "\xff"):
        (tmp_path / "bad.yaml").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match="bad.yaml: "):
            read_grid(str(tmp_path / "bad.yaml"))
