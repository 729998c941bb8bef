"""Figures to files, with Matplotlib but without a display."""

import os

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightclip_ms.runtime.files import replacing


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a PNG. Raises OSError that names the file."""
    FigureCanvasAgg(figure)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=110, facecolor="white")
