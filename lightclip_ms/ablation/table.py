"""The results of a grid in the layout of the paper's Table 4: one line a row, encoders side by side.

Intervals are over test pictures, by a paired bootstrap of the difference to the baseline. Two or three seeds allow no
interval over seeds: every seed's value is listed instead.
"""

import csv
import io

import numpy as np

from lightclip_ms.ablation.grid import Grid

RESAMPLES, LEVEL = 10_000, 95


def summarize(grid: Grid, results: dict[str, dict]) -> list[dict]:
    """One entry for each row and encoder that has a finished cell.

    Returns:
        [{"row", "encoder", "metric", "seeds": {seed: value}, "mean", "std" (None for one seed), "difference" to the
        baseline in the seeds that both have and its "interval" (None without), costs}], in the grid's order.
    """
    summary = []
    for encoder in grid.encoders:
        finished = {
            row: {r["seed"]: r for r in results.values() if (r["row"], r["encoder"]) == (row, encoder)}
            for row in grid.rows
        }
        baseline = finished[grid.baseline]
        for row, cells in finished.items():
            if not cells:
                continue
            cells = dict(sorted(cells.items()))
            values = [cell["value"] for cell in cells.values()]
            entry = {
                "row": row,
                "encoder": encoder,
                "metric": next(iter(cells.values()))["metric"],
                "seeds": {seed: cell["value"] for seed, cell in cells.items()},
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "difference": None,
                "interval": None,
                **_costs(cells, baseline),
            }
            shared = [seed for seed in cells if seed in baseline]
            if row != grid.baseline and shared:
                differences = paired_differences([cells[s] for s in shared], [baseline[s] for s in shared])
                entry["difference"] = float(differences.mean())
                entry["interval"] = bootstrap_interval(differences)
            summary.append(entry)
    return summary


def paired_differences(ours: list[dict], theirs: list[dict]) -> np.ndarray:
    """Per test picture [N]: the mean over seeds of the difference of its scores.

    Raises:
        ValueError: the cells saw different numbers of pictures.
    """
    counts = sorted({len(cell["per_picture"]) for cell in (*ours, *theirs)})
    if len(counts) > 1:
        raise ValueError(f"cells were tested on {counts[0]} and on {counts[-1]} pictures: remove one and run it again")
    scores = [np.array([cell["per_picture"] for cell in cells], float) for cells in (ours, theirs)]
    return (scores[0] - scores[1]).mean(axis=0)


def bootstrap_interval(differences: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `differences` [N] when the test pictures are drawn again."""
    rng = np.random.default_rng(seed)
    count = len(differences)
    means = [differences[rng.integers(0, count, count)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def _costs(cells: dict[int, dict], baseline: dict[int, dict]) -> dict:
    def mean(chosen, key):
        values = [cell[key] for cell in chosen.values() if cell.get(key) is not None]
        return float(np.mean(values)) if values else None

    def ratio(over, under):
        return over / under if over and under else None

    first = next(iter(cells.values()))
    return {
        "parameters": first["parameters"],
        "training_parameters": first["training_parameters"],
        "step_time_ratio": ratio(mean(baseline, "images_per_second"), mean(cells, "images_per_second")),
        "processor_ratio": ratio(mean(cells, "processor_seconds"), mean(baseline, "processor_seconds")),
        "memory_mb": mean(cells, "memory_mb"),
    }


def to_markdown(grid: Grid, summary: list[dict], cells: int) -> str:
    """The report."""
    done = sum(len(entry["seeds"]) for entry in summary)
    metric = summary[0]["metric"] if summary else ""
    lines = [
        f"# {grid.title}",
        "",
        f"{done} of {cells} cells are finished. Percent, {metric} on {grid.test}.",
        f"Differences are to {grid.baseline} in the same seeds, with a {LEVEL} % interval by paired bootstrap over",
        "test pictures; no interval over seeds is claimed.",
        "",
        "| encoder | method | mean | std | seeds | difference | interval | step time | processor | memory "
        "| weights (training) |",
        f"{'|---' * 11}|",
    ]
    for entry in summary:
        seeds = ", ".join(f"{value:.2f}" for value in entry["seeds"].values())
        interval = "" if entry["interval"] is None else f"{entry['interval'][0]:+.2f} to {entry['interval'][1]:+.2f}"
        line = (
            entry["encoder"] or "–",
            entry["row"],
            f"{entry['mean']:.2f}",
            _shown(entry["std"], ".2f"),
            seeds,
            _shown(entry["difference"], "+.2f"),
            interval,
            _shown(entry["step_time_ratio"], ".2f"),
            _shown(entry["processor_ratio"], ".2f"),
            "" if entry["memory_mb"] is None else f"{entry['memory_mb'] / 1e3:.1f} GB",
            f"{entry['parameters'] / 1e6:.2f} M ({entry['training_parameters'] / 1e6:.2f} M)",
        )
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines) + "\n"


def _shown(value, form: str) -> str:
    return "" if value is None else format(value, form)


def to_csv(summary: list[dict]) -> str:
    """One line for each row, encoder and seed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["encoder", "method", "seed", "metric", "value", "mean", "std", "difference", "low", "high"])
    for entry in summary:
        low, high = entry["interval"] or (None, None)
        for seed, value in entry["seeds"].items():
            shared = (entry["mean"], entry["std"], entry["difference"], low, high)
            writer.writerow([entry["encoder"], entry["row"], seed, entry["metric"], value, *shared])
    return buffer.getvalue()
