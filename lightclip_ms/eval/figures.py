"""Pictures of a run: its loss curves, and what its model retrieves. Matplotlib without a display."""

import json
import os
import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightclip_ms.data.decode import EncodedImage

_RIGHT, _WRONG = "#2a9d43", "#bbbbbb"


def save_figure(figure: Figure, path: str) -> None:
    """Write a PNG aside, then rename."""
    FigureCanvasAgg(figure)
    aside = f"{path}.{os.getpid()}.tmp"
    figure.savefig(aside, format="png", dpi=110, facecolor="white")
    os.replace(aside, path)


def read_metrics(path: str) -> list[dict]:
    """Records of a run's `metrics.jsonl`; a last line cut short by a crash is left out.

    Raises:
        FileNotFoundError: no such file. ValueError: no record in it.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; give the folder of a training run")
    records = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    if not records:
        raise ValueError(f"{path}: no training step was recorded")
    return records


def loss_curves(records: list[dict], terms: tuple[str, ...] = ("loss", "instance", "token", "mlm")) -> Figure:
    """One panel per recorded loss term over steps: every step, and a running mean; epochs as grey lines."""
    terms = [term for term in terms if term in records[-1]]
    figure = Figure(figsize=(3.6 * len(terms), 3.2), layout="constrained")
    for axis, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms):
        steps = np.array([record["step"] for record in records if term in record])
        values = np.array([record[term] for record in records if term in record], float)
        axis.plot(steps, values, color="#9ecae1", linewidth=0.8)
        axis.plot(steps, running_mean(values, max(1, len(values) // 30)), color="#08519c", linewidth=1.6)
        epochs = [
            record["step"] for before, record in zip(records, records[1:]) if record.get("epoch") != before.get("epoch")
        ]
        for step in epochs if len(epochs) <= 40 else ():
            axis.axvline(step, color="#dddddd", linewidth=0.6, zorder=0)
        axis.set(title=term, xlabel="step")
    return figure


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values at each place (of as many as there are at the start), [n]."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def retrieved_examples(rows: list[dict], columns: int = 5) -> Figure:
    """Captions and the pictures found for them, best first.

    Args:
        rows: {"caption": text, "note": small text, "pictures": encoded images, best first, "right": their truth}.
    """
    figure = Figure(figsize=(3.2 + 1.25 * columns, 1.35 * len(rows)), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns + 1, width_ratios=[2.6] + [1] * columns)
    for index, row in enumerate(rows):
        label = figure.add_subplot(grid[index, 0])
        label.axis("off")
        label.text(0, 0.5, textwrap.fill(row["caption"], 34), va="center", fontsize=9)
        label.text(0, 0.02, row["note"], va="bottom", fontsize=7, color="#777777")
        for column, (picture, right) in enumerate(zip(row["pictures"][:columns], row["right"])):
            axis = figure.add_subplot(grid[index, column + 1])
            axis.imshow(EncodedImage(picture).decode())
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color=_RIGHT if right else _WRONG, linewidth=4 if right else 1)
    return figure
