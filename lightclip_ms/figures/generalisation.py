"""What the number of things in the demo's training data does to known and to never-seen ones."""

import json
import os
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

REPORT = "report.json"
KNOWN, UNSEEN, COMPOUND = "#08519c", "#e6550d", "#31a354"


@dataclass(frozen=True)
class Point:
    """One report; (value, chance) in percent.

    Attributes:
        things: how many the model was trained on.
        recall_known, recall_unseen: R@1 of new pictures, mean of both directions.
        named_known, named_unseen, named_compounds: top-1 by name; the words of the last are in other names.
        unseen_things, compound_things: classes of the last two.
    """

    things: int
    recall_known: tuple[float, float]
    recall_unseen: tuple[float, float]
    named_known: tuple[float, float]
    named_unseen: tuple[float, float]
    named_compounds: tuple[float, float]
    unseen_things: int
    compound_things: int


def read_point(path: str) -> Point:
    """The point of a report of `scripts/demo_report.py`, given its file or its folder.

    Raises:
        FileNotFoundError: no such file. ValueError: no such report.
    """
    path = os.path.join(path, REPORT) if os.path.isdir(path) else path
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; scripts/demo_report.py writes it")
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)["results"]
        return Point(
            int(results["names"]["classes"]),
            *(_recall(results[split]) for split in ("val", "unseen")),
            *(
                (float(results[split]["top1"]), float(results[split]["chance_top1"]))
                for split in ("names", "unseen_names", "compounds")
            ),
            *(int(results[split]["classes"]) for split in ("unseen_names", "compounds")),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: no report of scripts/demo_report.py: {type(error).__name__}: {error}") from None


def _recall(result: dict) -> tuple[float, float]:
    both = (float(result[f"{direction}_R@1"]) for direction in ("image_to_text", "text_to_image"))
    return sum(both) / 2, float(result["chance_R@1"])


def to_markdown(points: list[Point]) -> str:
    """One line per report."""
    lines = [
        "| things in training | R@1 known | R@1 never seen (chance) | by name, known | by name, never seen (chance) "
        "| never seen, of known words (chance) |",
        "|---|---|---|---|---|---|",
    ]
    for point in points:
        lines.append(
            f"| {point.things:,} | {point.recall_known[0]:.1f} % | {_with_chance(point.recall_unseen)} | "
            f"{point.named_known[0]:.1f} % of {point.things:,} | {_with_chance(point.named_unseen)} of "
            f"{point.unseen_things} | {_with_chance(point.named_compounds)} of {point.compound_things} |"
        )
    return "\n".join(lines)


def _with_chance(value: tuple[float, float]) -> str:
    return f"{value[0]:.1f} % ({value[1]:.1f} %)"


def generalisation_figure(points: list[Point]) -> Figure:
    """Two panels over the number of things, known and never-seen ones in each, with what chance gives as dots.

    Reports with the same number of things are dots of one line through their means.
    """
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    recall, named = figure.subplots(1, 2)
    _draw(recall, points, "recall_known", "known things", KNOWN)
    _draw(recall, points, "recall_unseen", "never-seen things", UNSEEN)
    _draw(named, points, "named_known", "known things", KNOWN)
    _draw(named, points, "named_unseen", "never-seen things", UNSEEN)
    _draw(named, points, "named_compounds", "never-seen things, known words (dots: chance)", COMPOUND)
    for axis, title in ((recall, "retrieval of new pictures: R@1, %"), (named, "by name: top-1, %")):
        counts = sorted({point.things for point in points})
        axis.set_xscale("log")
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("things in training")
    figure.legend(*named.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _draw(axis: Axes, points: list[Point], name: str, label: str, colour: str) -> None:
    counts = sorted({point.things for point in points})
    values, chances = (
        [[getattr(point, name)[part] for point in points if point.things == count] for count in counts]
        for part in (0, 1)
    )
    axis.plot(counts, [np.mean(each) for each in values], color=colour, linewidth=1.6, label=label)
    for count, each in zip(counts, values):
        axis.plot([count] * len(each), each, "o", color=colour, markersize=5)
    axis.plot(counts, [np.mean(each) for each in chances], ":", color=colour, linewidth=1)
