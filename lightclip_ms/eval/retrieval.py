"""Recall at k between images and captions. Numpy only.

Legend: N images, T captions, E embedding size.

Ties are counted pessimistically: every wrong candidate whose similarity equals the right one's is ranked before it, so
a model that maps everything to one point scores 0, not 100. Similarities are summed in float64 and compared in float32,
so that equal candidates stay equal whatever the chunk size or the BLAS.
"""

import numpy as np

KS = (1, 5, 10)
CHUNK = 256  # images at a time: 256 x 25,000 captions are 51 MB in float64


def recall_at_k(
    image_features: np.ndarray,
    text_features: np.ndarray,
    image_of_caption: np.ndarray,
    ks: tuple[int, ...] = KS,
    chunk: int = CHUNK,
) -> dict[str, float]:
    """Recall in both directions, in percent.

    Args:
        image_features: [N, E], L2-normalised.
        text_features: [T, E], L2-normalised.
        image_of_caption: int [T], the image each caption belongs to; an image may have any number of captions, one
            at least. Image to text counts an image as found at the rank of its best caption.
        ks: the k of R@k.
        chunk: images compared at a time; changes memory, not the result.

    Returns:
        {"image_to_text_R@1": ..., ..., "text_to_image_R@10": ..., "mean_recall": mean of all of them}.

    Raises:
        ValueError: shapes that do not fit, an image without a caption, features that are not finite.
    """
    image_ranks, text_ranks = retrieval_ranks(image_features, text_features, image_of_caption, chunk)
    recalls = {
        f"{name}_R@{k}": 100 * float(np.mean(ranks < k))
        for name, ranks in (("image_to_text", image_ranks), ("text_to_image", text_ranks))
        for k in ks
    }
    return recalls | {"mean_recall": float(np.mean(list(recalls.values())))}


def retrieval_ranks(
    image_features: np.ndarray, text_features: np.ndarray, image_of_caption: np.ndarray, chunk: int = CHUNK
) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based ranks: of each image's best caption int [N], of each caption's image int [T]; see `recall_at_k`."""
    images, texts, owner = _check(image_features, text_features, image_of_caption)
    # The right pairs first: a candidate counts against them if it is at least as similar.
    own = np.einsum("te,te->t", images[owner], texts).astype(np.float32)  # [T] similarity to the right image
    best_own = np.full(len(images), -np.inf, np.float32)
    np.maximum.at(best_own, owner, own)  # [N]
    image_ranks, text_ranks = np.zeros(len(images), np.int64), np.zeros(len(texts), np.int64)
    for start in range(0, len(images), chunk):
        rows = np.arange(start, min(start + chunk, len(images)))
        similarity = (images[rows] @ texts.T).astype(np.float32)  # [chunk, T]
        wrong = owner[None, :] != rows[:, None]
        image_ranks[rows] = ((similarity >= best_own[rows, None]) & wrong).sum(axis=1)
        text_ranks += ((similarity >= own[None, :]) & wrong).sum(axis=0)
    return image_ranks, text_ranks


def _check(image_features, text_features, image_of_caption) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, texts = np.asarray(image_features, np.float64), np.asarray(text_features, np.float64)
    owner = np.asarray(image_of_caption, np.int64)
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1] or owner.shape != texts.shape[:1]:
        shapes = ", ".join(f"{list(array.shape)}" for array in (images, texts, owner))
        raise ValueError(f"expected [N, E], [T, E], [T]; got {shapes}")
    if not len(texts) or not (np.isfinite(images).all() and np.isfinite(texts).all()):
        raise ValueError("features are empty or not finite: the checkpoint is broken, or training diverged")
    counts = np.bincount(owner, minlength=len(images)) if owner.min() >= 0 else np.zeros(0)
    if len(counts) != len(images) or not counts.all():
        raise ValueError(f"every caption must name one of the {len(images)} images and every image needs a caption")
    return images, texts, owner
