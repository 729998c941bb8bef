"""How much a simple classifier reads from frozen image embeddings: nearest neighbours and a linear probe.

Their one parameter each is chosen on a part of the training images, as CLIP's paper does (its appendix A.3); the
classifier that is tested has then seen all of them. Legend: N images, C classes, E embedding size.
"""

import warnings
from collections.abc import Callable

import numpy as np

from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.sets.images import Subset
from lightclip_ms.eval.zeroshot import classification_scores, score_ranks

NEIGHBOURS = (1, 5, 10, 20, 50, 100)
TEMPERATURE = 0.07  # of the neighbours' votes, exp(cosine / temperature)
HELD_OUT = 5  # one training image in five of each class chooses the parameter
ITERATIONS = 1000
_LOW, _HIGH, _STEPS = -6, 6, 8  # CLIP's range of the inverse regularisation, powers of ten, and its steps per decade


def evaluate_probe(embedder: Embedder, train, test, seed: int = 0) -> dict[str, dict]:
    """Both classifiers on a labelled set, in the terms of zero-shot classification.

    Args:
        train, test: labelled sets (`sets/labelled.py`) of the same C classes.
        seed: of the choice of held-out training images.

    Returns:
        {"knn": {"neighbours", ...}, "linear": {"C", ...}}, each with accuracies in percent, `validation_top1`, and
        counts.

    Raises:
        ValueError: the classes differ, or only one of them has training images.
    """
    if train.classes is not None and test.classes is not None and list(train.classes) != list(test.classes):
        strange = sorted(set(train.classes) ^ set(test.classes)) or list(train.classes)
        raise ValueError(f"training and test images must have the same classes; they differ in {strange[0]!r}")
    classes = count_classes(train, test)
    fitted, labels = _embed(embedder, train)
    tested, truth = _embed(embedder, test)
    if len(np.unique(labels)) < 2:
        raise ValueError("a probe needs training images of at least two classes")
    held_out = every_nth_of_each_class(labels, HELD_OUT, seed)
    part = (fitted.features[~held_out], labels[~held_out], fitted.features[held_out])
    counts = {
        "chance_top1": 100 / classes,
        "chance_top5": min(100.0, 500 / classes),
        "classes": classes,
        "training_images": len(labels),
        "images": len(truth),
        "skipped_images": fitted.count + tested.count - len(labels) - len(truth),
        "skipped": "; ".join(filter(None, (fitted.skipped, tested.skipped))),
        "images_per_second": round(tested.per_second, 1),
    }

    def accuracy(scores: Callable, parameter) -> float:
        found = scores(*part, classes, parameter)
        return classification_scores(score_ranks(found, labels[held_out]), labels[held_out])["top1"]

    possible = [k for k in NEIGHBOURS if k <= len(part[0])]
    neighbours = max(possible, key=lambda k: accuracy(neighbour_scores, k))  # the fewest of equals
    strength = search_strength(lambda strength: accuracy(linear_scores, strength))
    results = {}
    for name, scores, chosen in (
        ("knn", neighbour_scores, {"neighbours": neighbours}),
        ("linear", linear_scores, {"C": strength}),
    ):
        (parameter,) = chosen.values()
        found = scores(fitted.features, labels, tested.features, classes, parameter)
        tested_scores = classification_scores(score_ranks(found, truth), truth)
        results[name] = {**chosen, "validation_top1": accuracy(scores, parameter), **tested_scores, **counts}
    return results


def count_classes(*datasets) -> int:
    """C: as many as the layout has, or the largest label says."""
    return max(max(len(dataset.classes or ()), int(dataset.labels.max()) + 1) for dataset in datasets)


def split_in_two(dataset, share: int = HELD_OUT, seed: int = 0):
    """(train, test) of a labelled set that has no split: one image in `share` of each class is for the test."""
    for_test = every_nth_of_each_class(dataset.labels, share, seed)
    return LabelledSubset(dataset, np.flatnonzero(~for_test)), LabelledSubset(dataset, np.flatnonzero(for_test))


class LabelledSubset(Subset):
    """The images `indices` of a labelled set, with their labels and the set's classes."""

    def __init__(self, dataset, indices: np.ndarray):
        super().__init__(dataset, indices)
        self.labels, self.classes, self.report = dataset.labels[indices], dataset.classes, dataset.report


def every_nth_of_each_class(labels: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """bool [N]: one image in `n` of each class at random; of a class with few images one, of a single one none.

    Raises:
        ValueError: no class has two images.
    """
    chosen = np.zeros(len(labels), bool)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            chosen[rows[: max(1, len(rows) // n)]] = True
    if not chosen.any():
        raise ValueError("a probe needs at least one class with two images to choose its parameter on")
    return chosen


def neighbour_scores(features, labels, queries, classes: int, neighbours: int) -> np.ndarray:
    """Votes of the nearest training images by cosine, weighted exp(cosine / 0.07): float64 [N, C], rows sum to 1.

    Args:
        features, labels: of the training images, L2-normalised [M, E] and int [M]; queries: L2-normalised [N, E].
    """
    from sklearn.neighbors import KNeighborsClassifier  # scikit-learn is slow to load

    # Of unit vectors, half the squared distance is 1 - cosine; a factor common to a row's votes changes nothing.
    model = KNeighborsClassifier(
        neighbours, algorithm="brute", weights=lambda distance: np.exp(-(distance**2) / 2 / TEMPERATURE)
    )
    return _all_classes(model.fit(features, labels), queries, classes)


def linear_scores(features, labels, queries, classes: int, strength: float) -> np.ndarray:
    """Probabilities of a logistic regression by L-BFGS with inverse L2 regularisation `strength`: float64 [N, C]."""
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn is slow to load
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():  # CLIP's paper stops after as many iterations, converged or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(features, labels)
    return _all_classes(model, queries, classes)


def search_strength(score: Callable[[float], float]) -> float:
    """The inverse regularisation with the best score among 97 powers of ten, by CLIP's binary search.

    First seven values two decades apart, then twice as fine around the best one until eight steps make a decade; of
    equal scores the stronger regularisation wins.
    """
    known = {}

    def best_of(steps) -> int:
        for step in steps:
            if step not in known and 0 <= step <= (_HIGH - _LOW) * _STEPS:
                known[step] = score(_power(step))
        return min(known, key=lambda step: (-known[step], step))

    stride = 2 * _STEPS
    best = best_of(range(0, (_HIGH - _LOW) * _STEPS + 1, stride))
    while stride > 1:
        stride //= 2
        best = best_of((best - stride, best + stride))
    return _power(best)


def _power(step: int) -> float:
    return 10.0 ** (_LOW + step / _STEPS)


def _embed(embedder: Embedder, dataset):
    embedded = embedder.images(dataset)
    return embedded, dataset.labels[embedded.kept]


def _all_classes(model, queries: np.ndarray, classes: int) -> np.ndarray:
    """A fitted model's probabilities [N, C], 0 for classes that it has not seen."""
    scores = np.zeros((len(queries), classes))
    scores[:, model.classes_] = model.predict_proba(queries)
    return scores
