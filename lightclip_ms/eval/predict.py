"""Answers about single pictures: which of some texts fits, and which pictures of a folder fit a text."""

from pathlib import Path

import numpy as np

from lightclip_ms.eval.embed import Embedded
from lightclip_ms.eval.images import ImageFiles, find_images


def probabilities(image_features: np.ndarray, text_features: np.ndarray, scale: float) -> np.ndarray:
    """Softmax over the texts of the scaled similarities, [N, E] and [T, E] -> float64 [N, T]."""
    logits = scale * (image_features.astype(np.float64) @ text_features.T.astype(np.float64))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def require_words(texts: list[str]) -> None:
    """Raises ValueError if one of the texts is empty: a model has an answer even to nothing."""
    if not all(text.strip() for text in texts):
        raise ValueError(f"empty text among {texts}: give words")


def open_images(paths: list[str]) -> ImageFiles:
    """Image files; a folder stands for all images below it.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no image.
    """
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such image or folder")
        found = find_images(path) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"{path}: no image in this folder")
        files += found
    return ImageFiles(files)


def best_images(embedded: Embedded, query: np.ndarray, count: int) -> list[tuple[int, float]]:
    """(index of the image, cosine) of the `count` images that fit a text's features [E] best, best first."""
    similarity = embedded.features @ query  # [n]
    order = np.argsort(-similarity, kind="stable")[:count]
    return [(int(embedded.kept[row]), float(similarity[row])) for row in order]
