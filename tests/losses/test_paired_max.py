"""Many-to-one token alignment against the float64 oracle, value and gradient."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import method_oracles, oracles
from tests.losses.test_filip import batch

step = ms.jit(ms.value_and_grad(losses.paired_max_alignment_loss, grad_position=(0, 1)))


def value_and_grad(image, text, valid):
    value, gradients = step(Tensor(image), Tensor(text), Tensor(valid))
    return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]


@pytest.mark.parametrize("pairs, patches", [(4, 3), (4, 1), (1, 6)])
def test_value_and_gradient_equal_the_oracle(pairs, patches):
    image, text, valid = batch(0, pairs, patches)
    value, gradients = value_and_grad(image, text, valid)
    assert value == pytest.approx(method_oracles.paired_max_alignment_loss(image, text, valid), rel=1e-10)
    expected = oracles.gradient(
        lambda image, text: method_oracles.paired_max_alignment_loss(image, text, valid), image, text
    )
    for found, wanted in zip(gradients, expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8)
    assert not gradients[0][3:].any() and not gradients[1][~valid].any()


def test_no_word_in_the_batch():
    image, text, valid = batch(1, 4)
    value, gradients = value_and_grad(image, text, np.zeros_like(valid))
    assert value == 0 and not any(gradient.any() for gradient in gradients)


def test_two_words_may_share_a_patch_where_the_matching_may_not():
    image = np.eye(3)[None, :2]
    text = np.eye(3)[None, [0, 0]]
    valid = np.ones((1, 2), bool)
    assert value_and_grad(image, text, valid)[0] == pytest.approx(0, abs=1e-12)
    one_to_one = losses.token_alignment_loss(Tensor(image), Tensor(text), Tensor(valid))
    assert one_to_one.asnumpy() == pytest.approx(0.5)


def test_weighted_mean_over_ranks_is_the_whole_batch():
    image, text, valid = batch(2, 4)  # rank 0 has two texts with words, rank 1 has one
    whole, whole_gradients = value_and_grad(image, text, valid)
    counts = [losses.token_alignment_count(Tensor(part), 3, "sample") for part in (valid[:2], valid[2:])]
    value, gradients = 0.0, []
    for rows, count in zip((slice(0, 2), slice(2, 4)), counts):
        weight = losses.rank_weight(count, sum(counts), 2).asnumpy()
        part, part_gradients = value_and_grad(image[rows], text[rows], valid[rows])
        value += weight * part / 2
        gradients.append([weight * gradient / 2 for gradient in part_gradients])
    assert value == pytest.approx(whole, rel=1e-6)
    for parts, wanted in zip(zip(*gradients), whole_gradients):
        np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-5, atol=1e-9)


def test_half_precision_and_bad_shapes():
    image, text, valid = batch(3, 4)
    image, text = image.astype(np.float16), text.astype(np.float16)
    found = losses.paired_max_alignment_loss(Tensor(image), Tensor(text), Tensor(valid))
    expected = method_oracles.paired_max_alignment_loss(image.astype(float), text.astype(float), valid)
    assert found.dtype == ms.float32 and found.asnumpy() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"\[N, P, D\]"):
        losses.paired_max_alignment_loss(Tensor(image), Tensor(text), Tensor(valid[:2]))
