"""The loss curves of a run."""

import os

import numpy as np
from matplotlib.figure import Figure

from lightclip_ms.runtime.files import read_json_lines


def read_metrics(path: str) -> list[dict]:
    """Records of a run's `metrics.jsonl`; a last line cut short by a crash is left out.

    Raises:
        FileNotFoundError: no such file. ValueError: no record in it.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; give the folder of a training run")
    records = read_json_lines(path)
    if not records:
        raise ValueError(f"{path}: no training step was recorded")
    return records


def loss_curves(records: list[dict], terms: list[str]) -> Figure:
    """One panel for the loss and for each of its terms over steps: every step, and a running mean.

    Args:
        records: of `read_metrics`; terms: names of the objective's terms.
    """
    terms = ["loss", *(term for term in terms if term in records[-1])]
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
