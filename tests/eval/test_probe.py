"""The probes on embeddings with known answers, the search of their parameters, and the script's splits."""

import numpy as np
import pytest

from lightclip_ms.eval import probe
from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.sets.labelled import open_labelled
from tests.eval.known_towers import COLOURS, ColourTowers, picture


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clusters(seed=0, per_class=30, classes=4, noise=0.3):
    """Unit vectors around one direction per class, and their labels."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 8))
    labels = np.repeat(np.arange(classes), per_class)
    return unit(centres[labels] + noise * rng.normal(size=(len(labels), 8))), labels


@pytest.fixture
def colour_folder(tmp_path):
    for colour in COLOURS:
        (tmp_path / colour).mkdir()
        for number in range(10):
            (tmp_path / colour / f"{number}.png").write_bytes(picture(colour, size=(20 + number, 24)))
    (tmp_path / "red" / "0.png").write_bytes(b"cut short")
    return tmp_path


def test_a_folder_without_a_split(colour_folder):
    train, test = probe.split_in_two(open_labelled(str(colour_folder)))
    assert np.bincount(test.labels).tolist() == [2, 2, 2] and np.bincount(train.labels).tolist() == [8, 8, 8]
    assert not {test.key(index) for index in range(6)} & {train.key(index) for index in range(24)}
    results = probe.evaluate_probe(Embedder(ColourTowers(4), 4), train, test)
    assert set(results) == {"knn", "linear"}
    for result in results.values():
        assert result["top1"] == result["mean_per_class"] == result["validation_top1"] == 100
        assert result["classes"] == 3 and result["chance_top1"] == pytest.approx(100 / 3)
        assert result["images"] + result["training_images"] == 29 and result["skipped_images"] == 1
        assert "1 of 24 images" in result["skipped"] and "red/0.png" in result["skipped"]
    assert results["knn"]["neighbours"] == 1 and results["linear"]["C"] > 0


def test_neighbours_vote_with_their_cosines():
    features = unit(np.array([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [0.05, 1]]))
    labels = np.array([0, 2, 1, 1, 1])
    queries = unit(np.array([[1.0, 0.05], [0.1, 1.0]]))
    for neighbours in (1, 2, 5):
        expected = np.zeros((2, 4))
        for row, query in enumerate(queries):
            cosines = features @ query
            for index in np.argsort(-cosines)[:neighbours]:
                expected[row, labels[index]] += np.exp(cosines[index] / 0.07)
        found = probe.neighbour_scores(features, labels, queries, 4, neighbours)
        np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-6, atol=1e-12)


def test_the_linear_probe_minimises_the_penalised_cross_entropy():
    features, labels = clusters(noise=0.8)
    strength = 10.0

    def objective(weights, intercepts):
        logits = features @ weights + intercepts
        logits -= logits.max(1, keepdims=True)
        logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return -strength * logarithms[np.arange(len(labels)), labels].sum() + np.square(weights).sum() / 2

    # The weights of the fitted model from its scores at the origin and the unit vectors.
    scores = np.log(probe.linear_scores(features, labels, np.vstack([np.zeros(8), np.eye(8)]), 4, strength))
    intercepts, weights = scores[0], scores[1:] - scores[0]
    weights -= weights.mean(1, keepdims=True)
    least = objective(weights, intercepts)
    rng = np.random.default_rng(3)
    for _ in range(30):
        assert objective(weights + 0.03 * rng.normal(size=weights.shape), intercepts) > least


def test_classes_without_training_images_score_nothing():
    features, labels = clusters(classes=3)
    for scores in (
        probe.neighbour_scores(features, labels + (labels > 0), features, 5, 3),
        probe.linear_scores(features, labels + (labels > 0), features, 5, 1.0),
    ):
        assert scores.shape == (90, 5) and not scores[:, [1, 4]].any()
        np.testing.assert_allclose(scores.sum(1), 1)


@pytest.mark.parametrize("peak", [-6.0, -3.25, 0.0, 1.875, 6.0])
def test_the_search_finds_a_single_peak_with_few_fits(peak):
    tried = []

    def score(strength):
        tried.append(strength)
        return -abs(np.log10(strength) - peak)

    assert np.log10(probe.search_strength(score)) == pytest.approx(peak)
    assert len(tried) == len(set(tried)) <= 7 + 2 * 4


def test_of_equal_scores_the_stronger_regularisation_wins():
    assert probe.search_strength(lambda strength: 1.0) == pytest.approx(1e-6)


def test_one_image_in_five_of_each_class():
    labels = np.array([0] * 20 + [1] * 3 + [2] + [3] * 2)
    chosen = probe.every_nth_of_each_class(labels, 5)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [4, 1, 0, 1]
    np.testing.assert_array_equal(chosen, probe.every_nth_of_each_class(labels, 5))
    assert (chosen != probe.every_nth_of_each_class(labels, 5, seed=1)).any()
    with pytest.raises(ValueError, match="class with two images"):
        probe.every_nth_of_each_class(np.arange(5), 5)


def test_mistakes_are_named(colour_folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for colour in ("red", "yellow"):
        (other / colour).mkdir()
        (other / colour / "a.png").write_bytes(picture("red"))
    embedder = Embedder(ColourTowers(4), 4)
    train = open_labelled(str(colour_folder))
    with pytest.raises(ValueError, match="differ in 'blue'"):
        probe.evaluate_probe(embedder, train, open_labelled(str(other)))
    red = probe.LabelledSubset(train, np.flatnonzero(train.labels == 2))
    with pytest.raises(ValueError, match="at least two classes"):
        probe.evaluate_probe(embedder, red, train)
