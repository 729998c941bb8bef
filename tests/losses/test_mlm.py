"""Masked language modelling against the float64 oracle, value and gradient."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import oracles

step = ms.jit(ms.value_and_grad(losses.mlm_loss))


def batch(seed=0, rows=12, vocabulary=6):
    rng = np.random.default_rng(seed)
    weights = np.zeros(rows)
    weights[[0, 1, 2, 3, 9, 10]] = 1
    return rng.normal(size=(rows, vocabulary)), rng.integers(0, vocabulary, rows), weights


def value_and_grad(logits, labels, weights):
    value, gradient = step(Tensor(logits), Tensor(labels.astype(np.int32)), Tensor(weights.astype(np.float32)))
    return value.asnumpy(), gradient.asnumpy()


def test_value_and_gradient_equal_the_oracle():
    logits, labels, weights = batch()
    value, gradient = value_and_grad(logits, labels, weights)
    assert value == pytest.approx(oracles.mlm_loss(logits, labels, weights), rel=1e-10)
    (expected,) = oracles.gradient(lambda logits: oracles.mlm_loss(logits, labels, weights), logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    assert not gradient[weights == 0].any()


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2)])
def test_any_leading_shape_is_that_of_its_rows(shape):
    logits, labels, weights = batch()
    rows, rows_gradient = value_and_grad(logits, labels, weights)
    value, gradient = value_and_grad(logits.reshape(*shape, -1), labels.reshape(shape), weights.reshape(shape))
    assert value == rows
    np.testing.assert_array_equal(gradient, rows_gradient.reshape(*shape, -1))


def test_far_apart_logits():
    logits, labels, weights = batch()
    logits = logits * 1e3
    value, gradient = value_and_grad(logits, labels, weights)
    assert value == pytest.approx(oracles.mlm_loss(logits, labels, weights), rel=1e-10)
    assert np.isfinite(gradient).all()


def test_no_real_slot():
    logits, labels, weights = batch()
    value, gradient = value_and_grad(logits, labels, 0 * weights)
    assert value == 0 and not gradient.any()


def test_weighted_mean_over_cards_is_the_whole_batch():
    logits, labels, weights = batch()
    whole, whole_gradient = value_and_grad(logits, labels, weights)
    slots = [Tensor(part.sum(), ms.float32) for part in (weights[:6], weights[6:])]
    assert [int(count) for count in slots] == [4, 2]  # a plain mean of the two cards would be wrong
    value, gradients = 0.0, []
    for rows, count in zip((slice(0, 6), slice(6, 12)), slots):
        weight = losses.rank_weight(count, sum(slots), 2).asnumpy()
        part, gradient = value_and_grad(logits[rows], labels[rows], weights[rows])
        value += weight * part / 2
        gradients.append(weight * gradient / 2)
    assert value == pytest.approx(whole, rel=1e-6)
    np.testing.assert_allclose(np.concatenate(gradients), whole_gradient, rtol=1e-5, atol=1e-9)


def test_rank_weight_without_anything_to_weigh():
    assert losses.rank_weight(Tensor(0.0), Tensor(0.0), 2) == 0


def test_eager_half_precision():
    logits, labels, weights = batch()
    logits = logits.astype(np.float16)
    found = losses.mlm_loss(Tensor(logits), Tensor(labels.astype(np.int32)), Tensor(weights.astype(np.float16)))
    assert found.dtype == ms.float32
    assert found.asnumpy() == pytest.approx(oracles.mlm_loss(logits.astype(float), labels, weights), rel=1e-5)


def test_bad_shapes():
    logits, labels, weights = batch()
    with pytest.raises(ValueError, match=r"\[\.\.\., V\]"):
        losses.mlm_loss(Tensor(logits), Tensor(labels[:2]), Tensor(weights))


def first_slots(weights, count):
    """Flat indices of slot 0 of every caption, slot 1 of every caption, ...: used ones first."""
    captions, slots = weights.shape
    order = [(slot, caption) for slot in range(slots) for caption in range(captions)]
    order.sort(key=lambda place: weights[place[1], place[0]] == 0)  # stable
    return [caption * slots + slot for slot, caption in order[:count]]


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12, 36])
def test_rows_are_those_of_a_plain_loop(count):
    weights = np.zeros((4, 3), np.float32)
    weights[[0, 0, 1, 3, 3], [0, 1, 0, 0, 1]] = 1
    rows = losses.vocabulary_rows(Tensor(weights), count).asnumpy()
    assert rows.dtype == np.int32 and rows.tolist() == first_slots(weights, count)


def test_a_limit_falls_on_all_captions_alike():
    """Six captions with 11 masked words each and 27 rows; with all ties, topk kept 0 0 0 11 6 7 of 24."""
    weights = np.tile((np.arange(12) < 11).astype(np.float32), (6, 1))
    rows = ms.jit(losses.vocabulary_rows)(Tensor(weights), 27).asnumpy()
    assert rows.tolist() == first_slots(weights, 27)
    assert np.bincount(rows // 12).tolist() == [5, 5, 5, 4, 4, 4]
