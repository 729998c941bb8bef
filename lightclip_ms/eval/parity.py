"""How far exported towers are from the model they came from: embeddings, top-1 choices, and retrieval.

Legend: N pictures, T captions, E embedding size.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lightclip_ms.eval.retrieval import recall_at_k

PICTURE_SIDE = 256
_COLOURS = ("red", "green", "blue", "yellow", "white", "black", "purple", "orange")
_SHAPES = {"circle": 0, "triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}


@dataclass(frozen=True)
class Bounds:
    """What a precision may differ by: largest relative error and least cosine of an embedding."""

    relative_error: float
    cosine: float


BOUNDS = {"float32": Bounds(1e-3, 0.99999), "float16": Bounds(5e-2, 0.999), "int8": Bounds(0.75, 0.75)}
MAX_LOSS = 1.0  # points of R@1 that a precision may lose on given pairs; float32 0.1
_FLOAT32_LOSS = 0.1


def made_pairs() -> tuple[list[Image.Image], list[str]]:
    """48 drawn pictures and a caption of each, where no others are given."""
    pictures, captions = [], []
    for row, colour in enumerate(_COLOURS):
        for column, (shape, sides) in enumerate(_SHAPES.items()):
            picture = Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE), _COLOURS[(row + column + 1) % len(_COLOURS)])
            draw, centre, radius = ImageDraw.Draw(picture), PICTURE_SIDE // 2, PICTURE_SIDE // 3
            if sides:
                draw.regular_polygon((centre, centre, radius), sides, fill=colour)
            else:
                draw.circle((centre, centre), radius, fill=colour)
            pictures.append(picture)
            captions.append(f"a {colour} {shape}")
    return pictures, captions


def compare_features(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """{"relative_error": max |f - e| / |e|, "cosine": the least} over the rows of two arrays [n, E]."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    lengths = np.linalg.norm(expected, axis=1)
    error = np.linalg.norm(found - expected, axis=1) / lengths
    cosine = (found * expected).sum(axis=1) / (lengths * np.linalg.norm(found, axis=1))
    return {"relative_error": float(error.max()), "cosine": float(cosine.min())}


def compare_choices(found: np.ndarray, expected: np.ndarray) -> float:
    """Percent of the rows of two similarity matrices [N, T] whose largest entry is in the same column."""
    return 100 * float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))


def compare_tower(tower: str, found: np.ndarray, image: np.ndarray, text: np.ndarray, owners: np.ndarray) -> dict:
    """One tower's features against the original's, and what retrieval makes of them beside the other original tower.

    Args:
        tower: "image" or "text". found: its features, [N, E] or [T, E].
        image, text: the original features [N, E] and [T, E]. owners: int [T], the picture of each caption.

    Returns:
        `compare_features`, "top1_agreement" in percent, and "R@1": {"image_to_text", "text_to_image"}.
    """
    pair = {"image": image, "text": text}
    result = compare_features(found, pair[tower])
    replaced = {name: unit_rows(each) for name, each in (pair | {tower: found}).items()}
    original = {name: unit_rows(each) for name, each in pair.items()}
    similar, expected = (each["image"] @ each["text"].T for each in (replaced, original))
    if tower == "text":
        similar, expected = similar.T, expected.T
    return result | {"top1_agreement": compare_choices(similar, expected), "R@1": recalls(**replaced, owners=owners)}


def recalls(image: np.ndarray, text: np.ndarray, owners: np.ndarray) -> dict[str, float]:
    """R@1 both ways in percent, of rows of length 1."""
    found = recall_at_k(image, text, owners, ks=(1,))
    return {way: found[f"{way}_R@1"] for way in ("image_to_text", "text_to_image")}


def failures(name: str, precision: str, result: dict, original: dict | None, max_loss: float = MAX_LOSS) -> list[str]:
    """What of a tower's `compare_tower` is beyond its precision's bounds, one line each.

    Args:
        original: R@1 of the original model, or None if the pairs were made, not given: those say nothing about loss.
    """
    bounds = BOUNDS[precision]
    found = []
    if not result["relative_error"] <= bounds.relative_error:
        found.append(
            f"{name}: relative error {result['relative_error']:.2g}, at most {bounds.relative_error:g} allowed"
        )
    if not result["cosine"] >= bounds.cosine:
        found.append(f"{name}: least cosine {result['cosine']:.6f}, at least {bounds.cosine:g} wanted")
    allowed = _FLOAT32_LOSS if precision == "float32" else max_loss
    for way, before in (original or {}).items():
        lost = before - result["R@1"][way]
        if lost > allowed + 1e-9:
            found.append(
                f"{name}: loses {lost:.1f} points of R@1 ({way.replace('_', ' ')}), at most {allowed:g} allowed"
            )
    return found


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
