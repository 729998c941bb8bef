"""Embeddings of a labelled set on a plane, and how well its classes keep together."""

import numpy as np


def t_sne(features: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE by cosine distance, float32 [N, 2], of features [N, E]; the same for the same seed.

    Raises:
        ValueError: scikit-learn is not installed, or too few images for the perplexity.
    """
    manifold = _sklearn("manifold")
    if len(features) <= 3 * perplexity:
        raise ValueError(
            f"{len(features)} images are too few for perplexity {perplexity}: t-SNE needs more than three times as many"
        )
    tsne = manifold.TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed)
    return tsne.fit_transform(features)


def cluster_score(points: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """Mean silhouette in -1..1: how much nearer a point lies to its own class than to the nearest other one."""
    return float(_sklearn("metrics").silhouette_score(points, labels, metric=metric))


def evenly_per_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices int of about `count` images, evenly spread over each class and in order; all if there are no more."""
    if count >= len(labels):
        return np.arange(len(labels))
    classes = np.unique(labels)
    share = max(2, count // len(classes))
    chosen = [
        members[np.linspace(0, len(members) - 1, min(share, len(members))).astype(int)]
        for members in (np.flatnonzero(labels == label) for label in classes)
    ]
    return np.sort(np.concatenate(chosen))


def _sklearn(module: str):
    import importlib

    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError:
        raise ValueError("t-SNE and cluster scores need scikit-learn: pip install scikit-learn") from None
