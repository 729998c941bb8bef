"""Token alignment against the float64 oracle, value and gradient."""

from functools import cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import oracles

NORMALIZERS = ("sample", "image_tokens", "pairs")


@cache
def compiled(normalizer):
    def loss(image_tokens, text_tokens, valid):
        return losses.token_alignment_loss(image_tokens, text_tokens, valid, normalizer)

    return ms.jit(ms.value_and_grad(loss, grad_position=(0, 1)))


def value_and_grad(image, text, valid, normalizer="sample"):
    value, gradients = compiled(normalizer)(Tensor(image), Tensor(text), Tensor(valid))
    return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]


def batch(patches, length, seed=0):
    """Four pairs: every position a word, a gap between words, one word, no word."""
    rng = np.random.default_rng(seed)
    valid = np.zeros((4, length), bool)
    valid[0] = True
    valid[1, [0, length - 1]] = True
    valid[2, 1] = True
    return rng.normal(size=(4, patches, 3)), rng.normal(size=(4, length, 3)), valid


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("patches, length", [(5, 3), (2, 4), (1, 4)])
def test_value_and_gradient_equal_the_oracle(normalizer, patches, length):
    image, text, valid = batch(patches, length)
    value, gradients = value_and_grad(image, text, valid, normalizer)
    assert value == pytest.approx(oracles.token_alignment_loss(image, text, valid, normalizer), rel=1e-10)
    expected = oracles.gradient(
        lambda image, text: oracles.token_alignment_loss(image, text, valid, normalizer), image, text
    )
    for found, wanted in zip(gradients, expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8)
    assert not gradients[0][3].any() and not gradients[1][~valid].any()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_no_word_in_the_batch(normalizer):
    image, text, _ = batch(5, 3)
    value, gradients = value_and_grad(image, text, np.zeros((4, 3), bool), normalizer)
    assert value == 0 and not any(gradient.any() for gradient in gradients)


def test_ties_and_zero_vectors_give_finite_gradients():
    image, text, valid = batch(5, 3)
    image[0] = image[0, 0]  # all patches alike
    image[1, 2] = text[2, 1] = 0
    value, gradients = value_and_grad(image, text, valid)
    assert value == pytest.approx(oracles.token_alignment_loss(image, text, valid, "sample"), rel=1e-10)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert not gradients[0][1, 2].any() and not gradients[1][2, 1].any()


def test_padding_has_no_influence():
    image, text, valid = batch(5, 3)
    value, _ = value_and_grad(image, text, valid)
    text[~valid] = 1e6
    assert value_and_grad(image, text, valid)[0] == value


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_weighted_mean_over_cards_is_the_whole_batch(normalizer):
    image, text, valid = batch(5, 3)  # card 0 has 4 + 2 words less the unmatched, card 1 one word and an empty text
    whole, whole_gradients = value_and_grad(image, text, valid, normalizer)
    counts = [losses.token_alignment_count(Tensor(part), 5, normalizer) for part in (valid[:2], valid[2:])]
    value, gradients = 0.0, []
    for rows, count in zip((slice(0, 2), slice(2, 4)), counts):
        weight = losses.rank_weight(count, sum(counts), 2).asnumpy()
        part, part_gradients = value_and_grad(image[rows], text[rows], valid[rows], normalizer)
        value += weight * part / 2
        gradients.append([weight * gradient / 2 for gradient in part_gradients])
    assert value == pytest.approx(whole, rel=1e-6)
    for parts, wanted in zip(zip(*gradients), whole_gradients):
        np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-5, atol=1e-9)


def test_eager_half_precision():
    image, text, valid = batch(5, 3)
    image, text = image.astype(np.float16), text.astype(np.float16)
    found = losses.token_alignment_loss(Tensor(image), Tensor(text), Tensor(valid))
    assert found.dtype == ms.float32
    assert found.asnumpy() == pytest.approx(
        oracles.token_alignment_loss(image.astype(float), text.astype(float), valid, "sample"), rel=1e-5
    )


def test_token_mask_is_strictly_between_first_sot_and_first_eot():
    ids = np.array([[8, 1, 2, 9, 0, 0], [8, 9, 0, 0, 0, 0], [8, 8, 9, 9, 3, 0], [8, 1, 2, 3, 4, 9]], np.int32)
    expected = [[0, 1, 1, 0, 0, 0], [0] * 6, [0, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0]]
    mask = losses.token_mask(Tensor(ids), 8, 9)
    assert mask.dtype == ms.bool_
    np.testing.assert_array_equal(mask.asnumpy(), np.array(expected, bool))
    np.testing.assert_array_equal(ms.jit(losses.token_mask)(Tensor(ids), 8, 9).asnumpy(), mask.asnumpy())


def test_token_collapse():
    tokens = np.random.default_rng(3).normal(size=(3, 4, 5))
    cosines = [unit[i] @ unit[j] for unit in oracles.unit(tokens) for i in range(4) for j in range(4) if i != j]
    assert losses.token_collapse(Tensor(tokens)).asnumpy() == pytest.approx(np.mean(cosines), rel=1e-10)
    same = np.repeat(tokens[:, :1], 4, axis=1)
    assert losses.token_collapse(Tensor(same)).asnumpy() == pytest.approx(1, abs=1e-12)
    assert losses.token_collapse(Tensor(tokens[:, :1])).asnumpy() == pytest.approx(0, abs=1e-12)


def test_bad_arguments():
    image, text, valid = (Tensor(array) for array in batch(5, 3))
    with pytest.raises(ValueError, match="unknown normalizer 'mean'.*sample"):
        losses.token_alignment_loss(image, text, valid, "mean")
    with pytest.raises(ValueError, match=r"\[N, P, D\]"):
        losses.token_alignment_loss(image[:, :, :2], text, valid)
