"""Figures over pictures: what was retrieved, heatmaps above each other, embeddings as a map."""

import textwrap

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.eval_transform import EvalTransform
from lightclip_ms.data.skipped import BadRecord

DISPLAY = 320  # pixels of a picture in a figure
_RIGHT, _WRONG = "#2a9d43", "#bbbbbb"


def central_square(images, index: int) -> Image.Image:
    """What the evaluation transform shows the model of a set's picture, upright, RGB [DISPLAY, DISPLAY].

    Raises:
        ValueError: the picture cannot be decoded; the message names it.
    """
    try:
        return Image.fromarray(EvalTransform(DISPLAY).pixels(images.read(index)))
    except BadRecord as error:
        raise ValueError(f"{images.key(index)}: {error}") from None


def overlay(picture: Image.Image, heat: np.ndarray) -> np.ndarray:
    """A picture under its heatmap [g, g] in 0..1: uint8 [H, W, 3]."""
    large = Image.fromarray(heat.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(large), 0, 1)
    colour = colormaps["jet"](heat)[..., :3] * 255
    return (0.55 * np.asarray(picture) + 0.45 * colour).astype(np.uint8)


def heatmap_figure(pictures: list[Image.Image], texts: list[str], rows: list[tuple[str, list[np.ndarray]]]) -> Figure:
    """Pictures above one row of overlays per checkpoint, the text below each column (the paper's Figure 3).

    Args:
        pictures, texts: one per column; rows: (the checkpoint's name, one heatmap [g, g] per column).
    """
    figure = Figure(figsize=(2.3 * len(pictures) + 0.3, 2.35 * (len(rows) + 1) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows) + 1, len(pictures), squeeze=False)
    for column, (picture, text) in enumerate(zip(pictures, texts)):
        axes[0, column].imshow(picture)
        for row, (_, heats) in enumerate(rows, 1):
            axes[row, column].imshow(overlay(picture, heats[column]))
        axes[-1, column].set_xlabel(textwrap.fill(text, 28), fontsize=9)
    for row, name in enumerate(["picture", *(name for name, _ in rows)]):
        axes[row, 0].set_ylabel(name, fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure


def embedding_figure(maps: list[tuple[str, np.ndarray]], labels: np.ndarray, names: list[str]) -> Figure:
    """Maps of embeddings side by side, coloured by class (the paper's Figure 4).

    Args:
        maps: (title, points [N, 2]); labels: int [N]; names: classes.
    """
    figure = Figure(figsize=(4.6 * len(maps) + 1.6, 4.8), layout="constrained")
    palette = colormaps["tab10" if len(names) <= 10 else "turbo"]
    colours = [palette(index if len(names) <= 10 else index / (len(names) - 1)) for index in range(len(names))]
    for axis, (title, points) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps):
        axis.scatter(*points.T, c=[colours[label] for label in labels], s=6, linewidths=0)
        axis.set(title=title, xticks=[], yticks=[])
    if len(names) <= 30:
        marks = [axis.scatter([], [], color=colour, s=20) for colour in colours]
        figure.legend(marks, names, loc="outside right center", fontsize=8, frameon=False)
    return figure


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
