"""Statistics of a grid: means, paired differences, bootstrap intervals."""

import numpy as np
import pytest

from lightclip_ms.ablation import plot, table
from lightclip_ms.ablation.grid import Grid


def cell(row, seed, scores, rate=10.0):
    return {
        "row": row,
        "encoder": "",
        "seed": seed,
        "value": float(np.mean(scores)),
        "metric": "top-1",
        "per_picture": list(scores),
        "parameters": 5,
        "training_parameters": 9,
        "images_per_second": rate,
        "processor_seconds": 20 / rate if rate != 10 or seed else None,  # of an earlier version's cells: none
        "memory_mb": 100,
    }


GRID = Grid("t", "c.yaml", {"base": [], "new": [], "absent": []}, [0, 1], "base", "zeroshot", 1.0, test="x")


def test_summary_of_a_grid_that_is_half_finished():
    rng = np.random.default_rng(0)
    base = [rng.uniform(0, 100, 40) for _ in range(2)]
    new = base[0] + rng.normal(3, 1, 40)
    results = {"a": cell("base", 1, base[1]), "b": cell("base", 0, base[0]), "c": cell("new", 0, new, rate=5.0)}
    first, second = table.summarize(GRID, results)
    assert [first["row"], second["row"]] == ["base", "new"] and list(first["seeds"]) == [0, 1]
    assert first["std"] == pytest.approx(np.std([np.mean(scores) for scores in base], ddof=1))
    assert second["std"] is None and first["difference"] is None and second["step_time_ratio"] == pytest.approx(2)
    assert first["processor_ratio"] == 1 and second["processor_ratio"] == pytest.approx(2)
    assert second["difference"] == pytest.approx(np.mean(new - base[0]))  # in the seed that both have
    low, high = second["interval"]
    assert 0 < low < second["difference"] < high
    text = table.to_markdown(GRID, [first, second], 6)
    assert "3 of 6 cells are finished" in text and "no interval over seeds is claimed" in text
    figure = plot.comparison_figure([first, second], "base")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["base", "new"]


def test_the_bootstrap_interval_is_that_of_the_mean():
    differences = np.random.default_rng(1).normal(2, 5, 400)
    low, high = table.bootstrap_interval(differences)
    error = differences.std() / np.sqrt(400)
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.05 * error + 0.02)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.05 * error + 0.02)
    assert table.bootstrap_interval(differences) == (low, high)
    assert table.bootstrap_interval(np.full(9, 1.5)) == (1.5, 1.5)


def test_pairing_removes_what_all_methods_find_hard():
    rng = np.random.default_rng(2)
    hard = 100.0 * (rng.uniform(size=500) < 0.5)
    ours, theirs = cell("new", 0, hard * 0.98 + 1.5), cell("base", 0, hard)
    low, high = table.bootstrap_interval(table.paired_differences([ours], [theirs]))
    assert high - low < 0.3 < np.std(hard) / np.sqrt(500)
    with pytest.raises(ValueError, match="tested on 499 and on 500 pictures"):
        table.paired_differences([cell("new", 0, hard[:-1])], [theirs])
