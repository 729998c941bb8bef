"""A scene (what is where, how large, how turned, on which colour) and its picture."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lightclip_ms.demo.openmoji import Emoji, draw_emoji

PICTURE_SIZE = 80
BACKGROUNDS = {
    "white": (252, 252, 252),
    "gray": (165, 165, 165),
    "red": (225, 60, 55),
    "orange": (245, 150, 50),
    "yellow": (250, 225, 80),
    "green": (90, 180, 80),
    "blue": (80, 140, 230),
    "purple": (150, 90, 200),
    "pink": (250, 170, 205),
    "brown": (150, 105, 65),
}
EXTENT = {"small": (0.34, 0.42), "medium": (0.52, 0.62), "large": (0.82, 0.94)}  # longer side / picture
OFFSET = {"small": 0.27, "medium": 0.19, "large": 0.0}  # of a corner's centre from the picture's centre
ROTATIONS = ("upright", "tilted", "upside-down")
PAIR_EXTENT, PAIR_OFFSET = (0.42, 0.48), 0.24
PAIR_SHARE = 0.25
HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Item:
    """One emoji: named size and rotation, place (row, column in -1, 0, 1), and the exact values drawn."""

    emoji: Emoji
    size: str
    rotation: str
    place: tuple[int, int]
    extent: float
    angle: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """One item, or two: side by side (left first) or one above the other (upper first)."""

    background: str
    shade: tuple[int, int, int]
    items: tuple[Item, ...]

    @property
    def composition(self) -> tuple:
        """What the scene is made of, without the small random shifts."""
        return (self.background, *((i.emoji.name, i.size, i.rotation, i.place) for i in self.items))


def is_held_out(scene: Scene) -> bool:
    """One composition in ten is kept for the evaluation sets, whatever the size of the training set."""
    digest = hashlib.sha256(repr(scene.composition).encode()).digest()
    return digest[0] % HELD_OUT_EVERY == 0


def _sample_item(rng: np.random.Generator, emoji: Emoji) -> Item:
    size = str(rng.choice(list(EXTENT), p=(0.2, 0.4, 0.4)))
    rotation = str(rng.choice(ROTATIONS, p=(0.8, 0.12, 0.08)))
    place = (0, 0) if size == "large" else tuple(int(v) for v in rng.integers(-1, 2, size=2))
    angle = {
        "upright": rng.uniform(-6, 6),
        "tilted": rng.choice((-1, 1)) * rng.uniform(35, 60),
        "upside-down": 180 + rng.uniform(-6, 6),
    }[rotation]
    centre = tuple(0.5 + OFFSET[size] * v + float(rng.uniform(-0.02, 0.02)) for v in place)
    return Item(emoji, size, rotation, place, float(rng.uniform(*EXTENT[size])), float(angle), centre)


def _pair_item(rng: np.random.Generator, emoji: Emoji, place: tuple[int, int]) -> Item:
    centre = tuple(0.5 + PAIR_OFFSET * v + float(rng.uniform(-0.02, 0.02)) for v in place)
    return Item(emoji, "medium", "upright", place, float(rng.uniform(*PAIR_EXTENT)), float(rng.uniform(-6, 6)), centre)


def _sample_shade(rng: np.random.Generator, background: str) -> tuple[int, int, int]:
    shade = np.array(BACKGROUNDS[background]) + rng.integers(-10, 11, size=3)
    return tuple(int(v) for v in shade.clip(0, 255))


def sample_scene(rng: np.random.Generator, emojis: tuple[Emoji, ...]) -> Scene:
    """A random scene of one emoji or, one time in four, of two different ones."""
    background = str(rng.choice(list(BACKGROUNDS)))
    shade = _sample_shade(rng, background)
    if rng.random() < PAIR_SHARE:
        first, second = (emojis[i] for i in rng.choice(len(emojis), size=2, replace=False))
        places = ((0, -1), (0, 1)) if rng.random() < 0.7 else ((-1, 0), (1, 0))
        return Scene(background, shade, (_pair_item(rng, first, places[0]), _pair_item(rng, second, places[1])))
    return Scene(background, shade, (_sample_item(rng, emojis[rng.integers(len(emojis))]),))


def sample_single(rng: np.random.Generator, emoji: Emoji, background: str) -> Scene:
    """A scene of this one emoji on this background, with a random size, place and rotation."""
    return Scene(background, _sample_shade(rng, background), (_sample_item(rng, emoji),))


def draw_scene(scene: Scene, size: int = PICTURE_SIZE) -> Image.Image:
    """RGB picture `[size, size]` of the scene."""
    picture = Image.new("RGB", (size, size), scene.shade)
    for item in scene.items:
        glyph = draw_emoji(item.emoji.character)
        scale = item.extent * size / max(glyph.size)
        # Turned at twice its final size and then averaged: smooth edges at a third of the cost of turning it whole.
        glyph = glyph.resize([max(2, round(2 * side * scale)) for side in glyph.size], Image.Resampling.BOX)
        glyph = glyph.rotate(item.angle, resample=Image.Resampling.BICUBIC, expand=True).reduce(2)
        row, column = item.centre
        picture.paste(glyph, (round(column * size - glyph.width / 2), round(row * size - glyph.height / 2)), glyph)
    return picture
