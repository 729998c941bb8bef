"""Recall at k against a slow oracle and constructed cases."""

import subprocess
import sys

import numpy as np
import pytest

from lightclip_ms.eval.retrieval import recall_at_k, retrieval_ranks
from tests import ROOT


def unit_rows(rng, count, width=8):
    rows = rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_ranks(images, texts, owner):
    """The definition, one pair at a time: wrong candidates at least as similar as the (best) right one."""
    similarity = np.array(
        [[np.float32(np.dot(i.astype(np.float64), t.astype(np.float64))) for t in texts] for i in images]
    )
    image_ranks = [
        sum(
            1
            for t in range(len(texts))
            if owner[t] != i and similarity[i, t] >= max(similarity[i, u] for u in range(len(texts)) if owner[u] == i)
        )
        for i in range(len(images))
    ]
    text_ranks = [
        sum(1 for i in range(len(images)) if i != owner[t] and similarity[i, t] >= similarity[owner[t], t])
        for t in range(len(texts))
    ]
    return np.array(image_ranks), np.array(text_ranks)


@pytest.mark.parametrize("chunk", [1, 7, 23, 100])
def test_ranks_equal_the_oracle_for_any_chunk(chunk):
    rng = np.random.default_rng(0)
    images = unit_rows(rng, 23)
    owner = np.concatenate([np.arange(23), rng.integers(0, 23, size=40)])
    texts = unit_rows(rng, len(owner)) * 0.5 + 0.5 * images[owner]
    texts = texts[::-1] / np.linalg.norm(texts[::-1], axis=1, keepdims=True)
    owner = owner[::-1]
    texts[5] = texts[11]  # equal captions of different images: a tie
    expected = slow_ranks(images, texts, owner)
    found = retrieval_ranks(images, texts, owner, chunk=chunk)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert 0 < found[0].max() and 0 < found[1].max()


def test_known_answers():
    images = np.eye(4, dtype=np.float32)
    # Captions of images 0, 1, 2, 3: right, right, points at image 3, points at image 3 twice as its own.
    texts = np.eye(4, dtype=np.float32)[[0, 1, 3, 3]]
    result = recall_at_k(images, texts, [0, 1, 2, 3], ks=(1, 2, 4))
    # Image 2 meets only zeros: three wrong captions tie with its own. Image 3 ties with image 2's caption.
    assert result["image_to_text_R@1"] == 50.0 and result["image_to_text_R@2"] == 75.0
    # Caption 2 is closest to image 3 and ties at zero with images 0 and 1; caption 3 is right.
    assert result["text_to_image_R@1"] == 75.0 and result["text_to_image_R@4"] == 100.0
    assert result["mean_recall"] == pytest.approx(np.mean([50, 75, 100, 75, 75, 100]))


def test_one_good_caption_of_five_is_enough_for_its_image():
    rng = np.random.default_rng(1)
    images = unit_rows(rng, 6, 32)
    owner = np.repeat(np.arange(6), 5)
    texts = -images[owner]
    texts[4::5] = images
    result = recall_at_k(images, texts, owner)
    assert result["image_to_text_R@1"] == 100.0
    assert result["text_to_image_R@1"] == pytest.approx(20.0)


def test_a_collapsed_model_scores_zero():
    images, texts = np.ones((20, 3)) / 3**0.5, np.ones((20, 3)) / 3**0.5
    result = recall_at_k(images, texts, np.arange(20))
    assert result["image_to_text_R@10"] == result["text_to_image_R@10"] == 0.0


def test_memory_of_a_whole_coco_test_split():
    program = """
import numpy as np
from lightclip_ms.runtime.peak_memory import peak_megabytes
from lightclip_ms.eval.retrieval import recall_at_k
from tests import ROOT
images, texts = np.ones((5000, 1024), np.float32), np.ones((25000, 1024), np.float32)
recall_at_k(images, texts, np.repeat(np.arange(5000), 5))
print(peak_megabytes())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) * 1e6 < 1e9  # half of what may be needed


@pytest.mark.parametrize(
    "images, texts, owner, words",
    [
        (np.ones((2, 3)), np.ones((2, 4)), [0, 1], "expected"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 0], "every image needs a caption"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 2], "every caption must name"),
        (np.ones((2, 3)), np.full((2, 3), np.nan), [0, 1], "not finite"),
        (np.ones((2, 3)), np.ones((0, 3)), [], "empty"),
    ],
)
def test_bad_input_is_refused(images, texts, owner, words):
    with pytest.raises(ValueError, match=words):
        recall_at_k(images, texts, owner)
