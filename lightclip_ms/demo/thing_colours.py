"""The colour that a person names with a thing: the one that fills most of its drawing."""

import functools

import numpy as np

from lightclip_ms.demo.openmoji import Emoji, draw_emoji

# OpenMoji draws in these colours only; black is that of its outlines.
PALETTE = {
    "red": ("d22f27", "ea5a47", "781e32", "9d231d"),
    "orange": ("e27022", "f4aa41"),
    "yellow": ("fcea2b", "f1b31c", "f7d324"),
    "green": ("b1cc33", "5c9e31", "186648"),
    "blue": ("92d3f5", "61b2e4", "1e50a0", "2d466e"),
    "purple": ("b399c8", "8967aa"),
    "pink": ("ffa7c0", "e67a94"),
    "brown": ("a57939", "6a462f"),
    "gray": ("d0cfce", "9b9b9a", "3f3f3f"),
    "white": ("ffffff",),
}
MOST = 0.5  # share of what is drawn without the outlines


@functools.cache
def main_colour(emoji: Emoji) -> str | None:
    """Name of the colour that fills most of the drawing; None if none does or if the thing's own name says one."""
    if set(emoji.noun.split()) & {*PALETTE, "black", "golden", "silver"}:
        return None
    pixels = np.asarray(draw_emoji(emoji.character))
    values = pixels[pixels[..., 3] == 255][:, :3].astype(np.int64) @ (1 << 16, 1 << 8, 1)
    filled = values[values != 0]
    if len(filled) < 0.1 * len(values):  # little more than outlines
        return None
    for name, shades in PALETTE.items():
        if np.isin(filled, [int(shade, 16) for shade in shades]).mean() > MOST:
            return name
    return None
