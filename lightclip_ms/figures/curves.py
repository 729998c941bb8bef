"""The loss curves of a run."""

import os

import numpy as np
from matplotlib.figure import Figure

from lightclip_ms.runtime.files import read_json_lines

PHASES = ("one-hot", "smoothed", "importance-aware")


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

    Dashed lines mark where the labels change; in the panel of the instance term the grey area is the entropy of the
    targets, which no model can go below.

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
        epochs = _changes(records, "epoch")
        for step, _ in epochs if len(epochs) <= 40 else ():
            axis.axvline(step, color="#dddddd", linewidth=0.6, zorder=0)
        if term in ("loss", "instance"):
            for step, phase in _changes(records, "phase"):
                axis.axvline(step, color="#e6550d", linewidth=1, linestyle="--")
                axis.annotate(
                    f"{PHASES[phase]} labels",
                    (step, 1),
                    (3, -3),
                    xycoords=("data", "axes fraction"),
                    textcoords="offset points",
                    rotation=90,
                    va="top",
                    fontsize="x-small",
                    color="#e6550d",
                )
        entropy = np.array([record.get("target_entropy") or 0.0 for record in records], float)
        if term == "instance" and entropy.any():
            places = [record["step"] for record in records]
            axis.fill_between(places, entropy, color="#bdbdbd", linewidth=0, label="entropy of the targets")
            axis.legend(loc="upper right", fontsize="x-small")
            axis.set_ylim(bottom=0)
        axis.set(title=term, xlabel="step")
    return figure


def _changes(records: list[dict], key: str) -> list[tuple[int, object]]:
    """(step, new value) of each record whose value of `key` is not the one before."""
    return [
        (record["step"], record[key])
        for before, record in zip(records, records[1:])
        if key in record and record[key] != before.get(key)
    ]


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values at each place (of as many as there are at the start), [n]."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
