"""Zero-shot classification: the ensemble, the scores, and whole evaluations with towers whose answers are known."""

import numpy as np
import pytest

from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.ranks import Ranks
from lightclip_ms.eval.run import embed_captions, evaluate_zeroshot, score_retrieval
from lightclip_ms.eval.sets.captioned import CaptionShards, open_captions
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.eval.sets.prompts import load_class_names, load_templates
from lightclip_ms.eval.zeroshot import build_classifier, build_prompts, classification_scores, label_ranks
from tests.data.data_files import write_tar
from tests.eval.known_towers import ColourTowers, picture


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_classifier_is_the_normalised_mean_of_each_class():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 5))
    classifier = build_classifier(features, classes=2)
    for column, rows in zip(classifier.T, (features[:3], features[3:])):
        mean = sum(rows) / 3
        np.testing.assert_allclose(column, mean / np.sqrt((mean**2).sum()), rtol=1e-6)
    assert build_prompts(["a", "b"], ["{} one", "two {}"]) == ["a one", "two a", "b one", "two b"]


def test_scores_by_hand():
    # Class sizes 3, 1; class 2 has no image. Ranks: right, second, right | last of six.
    labels, ranks = np.array([0, 0, 0, 1]), np.array([0, 1, 0, 5])
    scores = classification_scores(ranks, labels)
    assert scores == {"top1": 50.0, "top5": 75.0, "mean_per_class": pytest.approx(100 * (2 / 3 + 0) / 2)}


def test_the_first_of_equal_classes_comes_first():
    classifier = np.array([[1, 1, 0], [0, 0, 1]], np.float32)  # classes 0 and 1 are the same column
    images = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    np.testing.assert_array_equal(label_ranks(images, np.array([0, 2, 1]), classifier), [0, 0, 1])
    random = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.arange(40) % 3
    best = np.argmax(random.astype(np.float32) @ classifier, axis=1)
    np.testing.assert_array_equal(label_ranks(random, labels, classifier) == 0, best == labels)
    with pytest.raises(ValueError, match="labels in 0..2"):
        label_ranks(images, np.array([0, 1, 3]), classifier)


def colour_shards(tmp_path, colours, extra=()):
    order = ("red", "green", "blue")
    members = []
    for number, colour in enumerate(colours):
        members += [
            (f"{number:03d}.png", picture(colour)),
            (f"{number:03d}.cls", str(order.index(colour)).encode()),
            (f"{number:03d}.txt", f"something {colour}".encode()),
        ]
    return write_tar(tmp_path / "set.tar", [*members, *extra])


def embedder(batch_size=4, **options):
    return Embedder(ColourTowers(batch_size), batch_size, **options)


def test_whole_evaluation_pads_the_last_batch_and_counts_what_it_skips(tmp_path):
    path = colour_shards(
        tmp_path, ["red", "green", "blue", "red", "green"], extra=[("900.png", b"no image"), ("900.cls", b"0")]
    )
    runner = embedder()
    # The names of red and green are swapped: only blue can be right.
    result = evaluate_zeroshot(runner, open_labelled(path), ["green", "red", "blue"], ["a {} thing", "{} paint"])
    assert result["top1"] == pytest.approx(20.0) and result["mean_per_class"] == pytest.approx(100 / 3)
    assert (result["images"], result["skipped_images"], result["classes"]) == (5, 1, 3)
    assert result["skipped"] == f"1 of 6 images, e.g. {path}: 900"
    assert runner.towers.image_batches == 2 and runner.towers.text_batches == 2  # 6 images, 6 prompts, batches of 4


def test_retrieval_over_shards_and_tables(tmp_path):
    path = colour_shards(tmp_path, ["red", "green", "blue"], extra=[("900.png", b"?"), ("900.txt", b"a red one")])
    result = score_retrieval(embed_captions(embedder(), CaptionShards(path)))
    assert result["image_to_text_R@1"] == result["text_to_image_R@1"] == 100.0
    assert (result["images"], result["captions"], result["skipped_images"]) == (3, 3, 1)
    assert result["chance_R@1"] == pytest.approx(100 / 3)

    for colour in ("red", "blue"):
        (tmp_path / f"{colour}.png").write_bytes(picture(colour))
    table = tmp_path / "pairs.tsv"
    table.write_text("filepath\ttitle\nred.png\tred\nblue.png\tblue\nred.png\tgreen\n", encoding="utf-8")
    dataset = open_captions(str(table))
    (tmp_path / "gone.tsv").write_text("filepath\ttitle\nnone.png\tred\n")
    with pytest.raises(FileNotFoundError, match="gone.tsv: line 2: .*none.png: no such image"):
        open_captions(str(tmp_path / "gone.tsv"))
    assert dataset.captions == ["red", "green", "blue"] and dataset.image_of_caption.tolist() == [0, 0, 1]
    result = score_retrieval(embed_captions(embedder(), dataset))
    assert result["image_to_text_R@1"] == 100.0
    assert result["text_to_image_R@1"] == pytest.approx(200 / 3)  # "green" ties at zero with both images


def test_several_cards_embed_the_same(tmp_path):
    bad = [("900.png", b"no image"), ("900.cls", b"0")]  # on the first card, of which the others must tell too
    path = colour_shards(tmp_path, ["red", "green", "blue", "red", "green", "blue"], extra=bad)
    alone = embedder(batch_size=2).images(open_labelled(path))
    parts = {}
    for rank in range(3):  # first learn what each rank would send

        def gather(rows, rank=rank):
            parts[rank] = rows
            return np.ones((3 * len(rows), rows.shape[1]), np.float32)

        embedder(2, ranks=Ranks(rank, 3, gather)).images(open_labelled(path))
    gathered = np.concatenate([parts[rank] for rank in range(3)])
    for rank in range(3):
        again = embedder(2, ranks=Ranks(rank, 3, lambda rows: gathered)).images(open_labelled(path))
        np.testing.assert_array_equal(again.features, alone.features)
        assert again.skipped == alone.skipped == f"1 of 7 images, e.g. {path}: 900"
    assert {len(rows) for rows in parts.values()} == {4}  # four batches of two over three cards: two rounds each


def test_nothing_readable_is_an_error(tmp_path):
    path = write_tar(tmp_path / "bad.tar", [("1.png", b"x"), ("1.cls", b"0")])
    with pytest.raises(ValueError, match="none of 1 images"):
        embedder().images(open_labelled(path))


def test_prompt_files(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\n  dog \n", encoding="utf-8")
    assert load_class_names(str(tmp_path / "names.txt")) == ["cat", "dog"]
    (tmp_path / "set.yaml").write_text("classes: [yes it is, 7]\ntemplates: ['a {}']\n", encoding="utf-8")
    assert load_class_names(str(tmp_path / "set.yaml")) == ["yes it is", "7"]
    assert load_templates(str(tmp_path / "set.yaml")) == ["a {}"]
    assert load_templates("plain") == ["a photo of a {}."]
    (tmp_path / "bad.txt").write_text("a photo\n", encoding="utf-8")
    with pytest.raises(ValueError, match="bad.txt.*no {}"):
        load_templates(str(tmp_path / "bad.txt"))
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="empty.txt"):
        load_class_names(str(tmp_path / "empty.txt"))
    with pytest.raises(FileNotFoundError, match="nowhere.*plain"):
        load_templates("nowhere")
