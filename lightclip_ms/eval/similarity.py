"""Answers about single pictures: which of some texts fits, and which pictures of a folder fit a query."""

import numpy as np

from lightclip_ms.data.pair import says_nothing
from lightclip_ms.eval.embed import Embedded


def probabilities(image_features: np.ndarray, text_features: np.ndarray, scale: float) -> np.ndarray:
    """Softmax over the texts of the scaled similarities, [N, E] and [T, E] -> float64 [N, T]."""
    logits = scale * (image_features.astype(np.float64) @ text_features.T.astype(np.float64))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def require_words(texts: list[str]) -> None:
    """Raises ValueError if one of the texts is empty: a model has an answer even to nothing."""
    if any(map(says_nothing, texts)):
        raise ValueError(f"empty text among {texts}: give words")


def best_images(embedded: Embedded, query: np.ndarray, count: int) -> list[tuple[int, float]]:
    """(index of the image, cosine) of the `count` images that fit a text's features [E] best, best first."""
    similarity = embedded.features @ query  # [n]
    order = np.argsort(-similarity, kind="stable")[:count]
    return [(int(embedded.kept[row]), float(similarity[row])) for row in order]
