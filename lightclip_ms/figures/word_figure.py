"""Words on the patches that they are matched to, for several checkpoints side by side."""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lightclip_ms.figures.token_matches import WordMatch

_PICTURE, _LIST = 3.6, 2.1  # inches of a picture and of the words beside it
_LINE = 0.21  # inches of a line of that list
_LETTER = 0.075  # inches of a letter on a patch, with its margin


@dataclass(frozen=True)
class Column:
    """A checkpoint's part of the figure: its title, and for each picture the matches and the side of the grid."""

    title: str
    matched: list[tuple[list[WordMatch], int]]


def matching_figure(pictures: list[Image.Image], captions: list[str], columns: list[Column]) -> Figure:
    """Pictures with framed patches and the words matched to them; cosines are in the list beside each.

    Args:
        pictures, captions: one per row; columns: one per checkpoint.
    """
    words = [max(len(column.matched[row][0]) for column in columns) for row in range(len(pictures))]
    heights = [max(_PICTURE, _LINE * (count + 1)) for count in words]
    width = (_PICTURE + _LIST) * len(columns)
    figure = Figure(figsize=(width, sum(heights) + 0.45 * len(pictures) + 0.4), layout="constrained")
    parts = figure.subfigures(len(pictures), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, (part, picture, caption) in enumerate(zip(parts, pictures, captions)):
        part.suptitle(textwrap.fill(f"\N{LEFT DOUBLE QUOTATION MARK}{caption}\N{RIGHT DOUBLE QUOTATION MARK}", 60))
        axes = part.subplots(1, 2 * len(columns), squeeze=False, width_ratios=[_PICTURE, _LIST] * len(columns))[0]
        for place, column in enumerate(columns):
            matches, grid = column.matched[row]
            image, table = axes[2 * place], axes[2 * place + 1]
            _draw_patches(image, picture, matches, grid)
            _draw_list(table, matches, heights[row])
            if row == 0:
                image.set_title(column.title, fontsize=10, fontweight="bold", loc="left")
    return figure


def _draw_patches(axis: Axes, picture: Image.Image, matches: list[WordMatch], grid: int) -> None:
    axis.imshow(picture)
    size = picture.width / grid
    for line in range(1, grid):
        axis.axhline(line * size, color="white", linewidth=0.4, alpha=0.6)
        axis.axvline(line * size, color="white", linewidth=0.4, alpha=0.6)
    for number, match in enumerate(matches):
        colour = _colour(number, len(matches))
        row, column = match.patch
        frame = Rectangle((column * size + 1, row * size + 1), size - 2, size - 2, fill=False, edgecolor=colour)
        frame.set_linewidth(2)
        axis.add_patch(frame)
        # A word that is longer than its patch would cover the next one: its number in the list stands for it.
        fits = len(match.word) * _LETTER <= _PICTURE / grid
        axis.text(
            (column + 0.5) * size,
            (row + 0.5) * size,
            match.word if fits else str(number + 1),
            fontsize=9,
            ha="center",
            va="center",
            color="black" if np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.6 else "white",  # by luma
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
        )
    axis.set(xticks=[], yticks=[], xlim=(0, picture.width), ylim=(picture.height, 0))


def _draw_list(axis: Axes, matches: list[WordMatch], height: float) -> None:
    axis.axis("off")
    for number, match in enumerate(matches):
        level = 1 - _LINE * (number + 0.5) / height
        axis.text(0, level, "\N{BLACK SQUARE}", color=_colour(number, len(matches)), fontsize=11, va="center")
        axis.text(0.12, level, f"{number + 1}  {match.word}  {match.cosine:+.2f}", fontsize=10, va="center")


def _colour(number: int, count: int):
    return colormaps["turbo"](0.08 + 0.84 * number / max(1, count - 1))
