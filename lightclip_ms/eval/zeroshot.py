"""Zero-shot classification: class prompts to a linear classifier, and its accuracy. Numpy only.

Legend: N images, C classes, K templates, E embedding size.
"""

import numpy as np


def build_prompts(class_names: list[str], templates: list[str]) -> list[str]:
    """The C * K prompts, all templates of the first class first."""
    if not class_names or not templates:
        raise ValueError("zero-shot classification needs class names and prompt templates, at least one of each")
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"prompt template {template!r} has no {{}} for the class name")
    return [template.replace("{}", name) for name in class_names for template in templates]


def build_classifier(prompt_features: np.ndarray, classes: int) -> np.ndarray:
    """Class weights: the normalised mean of each class's prompt embeddings.

    Args:
        prompt_features: L2-normalised [C * K, E], in the order of `build_prompts`.
        classes: C.

    Returns:
        float32 [E, C], columns of length 1.
    """
    features = np.asarray(prompt_features, np.float64).reshape(classes, -1, prompt_features.shape[-1])  # [C, K, E]
    means = features.mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return (means / np.maximum(lengths, 1e-12)).T.astype(np.float32)


def label_ranks(image_features: np.ndarray, labels: np.ndarray, classifier: np.ndarray) -> np.ndarray:
    """Zero-based rank of each image's class among all classes, int [N]; see `score_ranks`.

    Args:
        image_features: [N, E]; labels: int [N] in 0..C-1; classifier: [E, C].
    """
    # float64 sums compared in float32: equal classes stay equal whatever the BLAS does.
    scores = np.asarray(image_features, np.float64) @ np.asarray(classifier, np.float64)  # [N, C]
    return score_ranks(scores.astype(np.float32), labels)


def score_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Zero-based rank of each image's class among the scores of all classes, int [N].

    Of equal classes the first comes first, as argmax has it: ImageNet's usual names hold two pairs of twins, and other
    tools count so too.

    Args:
        scores: [N, C]; labels: int [N] in 0..C-1.
    """
    labels = np.asarray(labels, np.int64)
    images, classes = scores.shape
    if len(labels) != images or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
        raise ValueError(f"{images} images need as many labels in 0..{classes - 1}")
    if not np.isfinite(scores).all():
        raise ValueError("similarities are not finite: the checkpoint is broken, or training diverged")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(classes)[None, :] < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def classification_scores(ranks: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """{"top1", "top5", "mean_per_class"} in percent, from `label_ranks`' ranks [N] and the labels [N].

    `mean_per_class` is the mean of the top-1 accuracies of the classes that have an image.
    """
    if not len(ranks):
        raise ValueError("no image to classify")
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=ranks == 0)
    present = counts > 0
    return {
        "top1": 100 * float(np.mean(ranks == 0)),
        "top5": 100 * float(np.mean(ranks < 5)),
        "mean_per_class": 100 * float(np.mean(right[present] / counts[present])),
    }
