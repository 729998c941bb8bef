"""What is drawn: curves from a run's records, maps of embeddings, and the part of a picture that the model sees."""

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from lightclip_ms.data.eval_transform import EvalTransform
from lightclip_ms.eval import similarity
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.figures import curves, embedding_map, pictures, png
from lightclip_ms.figures.token_matches import WordMatch
from lightclip_ms.figures.word_figure import Column, matching_figure
from tests.data.data_files import picture


def test_records_of_a_run_that_was_killed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "epoch": 0, "loss": 3.0, "mlm": 1.0}\n{"step": 2, "epoch": 1, "loss": 2.0, "mlm": 1.0}\n{"st'
    )
    records = curves.read_metrics(str(path))
    assert [record["step"] for record in records] == [1, 2]
    figure = curves.loss_curves(records, ["instance", "token", "mlm"])
    assert [axis.get_title() for axis in figure.axes] == ["loss", "mlm"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [3.0, 2.0])
    png.save_figure(figure, str(tmp_path / "curves.png"))
    assert Image.open(tmp_path / "curves.png").width > 300 and len(list(tmp_path.iterdir())) == 2
    path.write_text("")
    with pytest.raises(ValueError, match="no training step"):
        curves.read_metrics(str(path))
    with pytest.raises(FileNotFoundError, match="training run"):
        curves.read_metrics(str(tmp_path / "nothing.jsonl"))


def test_curves_mark_the_changes_of_labels_and_the_entropy_of_the_targets():
    phases = [0, 0, 1, 1, 2, 2]
    records = [
        {"step": step, "epoch": step // 3, "phase": phase, "loss": 2.0, "instance": 1.5, "target_entropy": 0.5 * phase}
        for step, phase in enumerate(phases, 1)
    ]
    loss, instance = curves.loss_curves(records, ["instance"]).axes
    for axis in (loss, instance):
        assert [text.get_text() for text in axis.texts] == ["smoothed labels", "importance-aware labels"]
        dashed = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--"]
        assert dashed == [3, 5]
    assert not loss.collections and instance.get_legend().get_texts()[0].get_text() == "entropy of the targets"
    area = instance.collections[0].get_paths()[0].vertices
    assert area[:, 1].max() == 1.0 and area[:, 1].min() == 0
    hard = [record | {"phase": 0, "target_entropy": 0.0} for record in records]
    assert not curves.loss_curves(hard, ["instance"]).axes[1].collections


def test_running_mean():
    np.testing.assert_allclose(curves.running_mean(np.array([2.0, 4.0, 9.0, 5.0]), 2), [2, 3, 6.5, 7])


def test_the_figures_show_what_the_model_sees(tmp_path):
    lying = Image.Exif()
    lying[0x0112] = 6  # as telephones store upright pictures: turned by a quarter
    Image.fromarray(picture(3, 90, 140)).save(tmp_path / "a.png", exif=lying)
    (tmp_path / "b.png").write_bytes(b"cut short")
    images = open_images([str(tmp_path)])
    shown = pictures.central_square(images, 0)
    assert shown.size == (pictures.DISPLAY,) * 2
    square = np.asarray(shown.resize((40, 40), Image.Resampling.BICUBIC), float)
    assert np.abs(square - EvalTransform(40).pixels(images.read(0))).mean() < 2
    with pytest.raises(ValueError, match="b.png: undecodable image"):
        pictures.central_square(images, 1)


def test_heat_is_laid_over_the_right_corner():
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    heat = np.zeros((4, 4))
    heat[0, 3] = 1
    shown = pictures.overlay(grey, heat).astype(int)
    redness = shown[..., 0] - shown[..., 2]
    assert np.unravel_index(redness.argmax(), redness.shape)[0] < 16 <= 48 <= redness.argmax() % 64
    assert redness[40:, :30].max() < 0  # cold is blue


def test_figures_have_a_place_for_everything(tmp_path):
    squares = [Image.fromarray(picture(number)) for number in range(3)]
    heat = np.eye(4)
    figure = pictures.heatmap_figure(
        squares, ["one", "two", "three"], [("CLIP", [heat] * 3), ("LightCLIP", [heat] * 3)]
    )
    assert len(figure.axes) == 9
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["picture", "CLIP", "LightCLIP"]
    assert [axis.get_xlabel() for axis in figure.axes[6:]] == ["one", "two", "three"]


def test_words_of_two_checkpoints_side_by_side(tmp_path):
    square = Image.new("RGB", (320, 320))
    columns = [
        Column("CLIP (embedding space)", [([WordMatch("cat", (1, 3), 0.5)], 4), ([WordMatch("a", (0, 0), 0.0)], 4)]),
        Column("LightCLIP", [([WordMatch("extraordinary", (0, 1), -0.25)], 4), ([], 4)]),
    ]
    figure = matching_figure([square, square], ["a cat", "a"], columns)
    assert len(figure.axes) == 8 and [axis.get_title("left") for axis in figure.axes[:4:2]] == [
        "CLIP (embedding space)",
        "LightCLIP",
    ]
    (frame,) = figure.axes[0].patches
    assert (frame.get_x() // 80, frame.get_y() // 80) == (3, 1)
    texts = [[text.get_text() for text in axis.texts] for axis in figure.axes[:4]]
    assert texts[:2] == [["cat"], ["\N{BLACK SQUARE}", "1  cat  +0.50"]]
    assert texts[2:] == [["1"], ["\N{BLACK SQUARE}", "1  extraordinary  -0.25"]]  # too long for its patch
    png.save_figure(figure, str(tmp_path / "match.png"))


def test_t_sne_keeps_clusters_together_and_repeats():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16)) * 4
    labels = np.repeat(np.arange(3), 20)
    features = centres[labels] + rng.normal(size=(60, 16))
    points = embedding_map.t_sne(features, perplexity=10)
    np.testing.assert_array_equal(points, embedding_map.t_sne(features, perplexity=10))
    assert points.shape == (60, 2) and embedding_map.cluster_score(points, labels, "euclidean") > 0.5
    assert embedding_map.cluster_score(features, labels, "cosine") > 0.5
    assert abs(embedding_map.cluster_score(features, rng.permutation(labels), "cosine")) < 0.2
    with pytest.raises(ValueError, match="too few for perplexity"):
        embedding_map.t_sne(features[:20], perplexity=10)
    figure = pictures.embedding_figure([("a", points), ("b", points)], labels, ["x", "y", "z"])
    assert len(figure.axes) == 2 and [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y", "z"]


def test_even_choice_from_every_class():
    labels = np.array([0] * 50 + [1] * 5 + [2] * 45)
    chosen = embedding_map.evenly_per_class(labels, 30)
    assert np.bincount(labels[chosen]).tolist() == [10, 5, 10] and (np.diff(chosen) > 0).all()
    assert len(embedding_map.evenly_per_class(labels, 1000)) == 100


def test_probabilities_are_the_softmax_of_scaled_cosines():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(3, 8)), rng.normal(size=(4, 8))
    np.testing.assert_allclose(similarity.probabilities(images, texts, 30.0), softmax(30.0 * images @ texts.T, axis=1))


def test_images_of_files_and_folders(tmp_path):
    for name in ("b.jpg", "deep/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    images = open_images([str(tmp_path / "b.jpg"), str(tmp_path / "deep")])
    assert [images.key(index).rsplit("/", 1)[1] for index in range(len(images))] == ["b.jpg", "a.png"]
    (tmp_path / "empty").mkdir()
    for path, words in (("empty", "no image in this folder"), ("none.jpg", "no such image")):
        with pytest.raises(FileNotFoundError, match=words):
            open_images([str(tmp_path / path)])
