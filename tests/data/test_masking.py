"""Masking of words: what may be masked, how many, how often each fate, and independence of the other texts."""

import math

import numpy as np
import pytest

from lightclip_ms.data import mask_tokens
from lightclip_ms.data.masking import most_masked, num_slots

VOCAB = 1000
SOT, EOT, MASK = VOCAB - 2, VOCAB - 1, VOCAB


def texts(lengths, context=77):
    """SOT, `length` ordinary ids, EOT, zeros; `[len(lengths), context]`."""
    rng = np.random.default_rng(1)
    ids = np.zeros((len(lengths), context), np.int32)
    for row, length in zip(ids, lengths):
        row[: length + 2] = [SOT, *rng.integers(0, SOT, length), EOT]
    return ids


def test_counts_positions_and_labels():
    lengths = [0, 1, 2, 3, 10, 12, 13, 50, 75]
    ids = texts(lengths)
    before = ids.copy()
    masked, positions, labels, weights = mask_tokens(ids, np.random.default_rng(0), vocab_size=VOCAB)
    np.testing.assert_array_equal(ids, before)
    assert masked.shape == ids.shape and positions.shape == labels.shape == weights.shape == (9, 12)
    assert [a.dtype for a in (masked, positions, labels, weights)] == [np.int32, np.int32, np.int32, np.float32]
    for row, m in enumerate(lengths):
        k = max(1, math.floor(0.15 * m + 0.5)) if m else 0
        chosen = positions[row, :k]
        assert weights[row].tolist() == [1.0] * k + [0.0] * (12 - k)
        assert not positions[row, k:].any() and not labels[row, k:].any()
        assert len(set(chosen)) == k and all(1 <= p <= m for p in chosen)
        np.testing.assert_array_equal(labels[row, :k], ids[row, chosen])
        untouched = np.setdiff1d(np.arange(77), chosen)
        np.testing.assert_array_equal(masked[row, untouched], ids[row, untouched])


def test_never_more_than_the_slots():
    ids = texts([75])
    assert mask_tokens(ids, np.random.default_rng(0), vocab_size=VOCAB, mask_ratio=1.0)[3].sum() == 75
    assert num_slots(77) == 12 and num_slots(24) == 4 and num_slots(20) == 3


@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.6])
def test_most_masked_bounds_every_mixture_of_lengths(ratio):
    """Against the best mixture of up to 6 captions of up to 30 words, found word by word."""
    masked = mask_tokens(texts(range(31), 32), np.random.default_rng(0), vocab_size=VOCAB, mask_ratio=ratio)[3].sum(1)
    best = np.zeros(6 * 30 + 1)  # by words in all, of the captions so far
    for captions in range(1, 7):
        best = np.array(
            [max(best[words - m] + masked[m] for m in range(min(30, words) + 1)) for words in range(len(best))]
        )
        for words in range(captions, 30 * captions + 1):
            bound = most_masked(words + 2 * captions, captions, ratio)
            assert best[words] <= bound <= best[words] + captions  # and not by a row per caption too many
    assert most_masked(3, 2) == most_masked(4, 2) == 0 and most_masked(5, 2) == 1


def test_fates_are_80_10_10_and_positions_uniform():
    ids = texts([40] * 4000)
    masked, positions, labels, weights = mask_tokens(ids, np.random.default_rng(3), vocab_size=VOCAB)
    real = weights > 0
    rows = np.nonzero(real)[0]
    now, was = masked[rows, positions[real]], labels[real]
    n = len(now)  # 24,000: standard deviation of a share is below 0.0026
    assert n == 24000
    assert abs((now == MASK).mean() - 0.8) < 0.013
    replaced = (now != MASK) & (now != was)
    assert abs(replaced.mean() - 0.1) < 0.01
    assert abs((now == was).mean() - 0.1) < 0.01
    assert now[replaced].max() < SOT and now[replaced].min() >= 0
    assert abs(now[replaced].mean() - (SOT - 1) / 2) < 30  # standard deviation of the mean: 6
    counts = np.bincount(positions[real], minlength=42)[1:41]
    assert abs(counts / n - 1 / 40).max() < 0.005


def test_own_generators_make_a_text_independent_of_its_batch():
    ids = texts([5, 20, 40])
    together = mask_tokens(ids, [np.random.default_rng([7, i]) for i in range(3)], vocab_size=VOCAB)
    for i in range(3):
        alone = mask_tokens(ids[i : i + 1], [np.random.default_rng([7, i])], vocab_size=VOCAB)
        for a, b in zip(together, alone):
            np.testing.assert_array_equal(a[i : i + 1], b)


def test_start_and_end_inside_the_text():
    ids = np.array([[SOT, 5, SOT, 6, EOT, 7, EOT, 0]], np.int32)
    for seed in range(50):
        positions = mask_tokens(ids, np.random.default_rng(seed), vocab_size=VOCAB)[1]
        assert positions[0, 0] in (1, 3)


@pytest.mark.parametrize("ratio", [0, -0.1, 1.5])
def test_impossible_ratio(ratio):
    with pytest.raises(ValueError, match="mask_ratio"):
        mask_tokens(texts([3]), np.random.default_rng(0), vocab_size=VOCAB, mask_ratio=ratio)


def test_wrong_number_of_generators():
    with pytest.raises(ValueError, match="2 random generators for 3 captions"):
        mask_tokens(texts([3, 3, 3]), [np.random.default_rng(0)] * 2, vocab_size=VOCAB)
