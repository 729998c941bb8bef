"""FILIP's loss against the float64 oracle: values and gradients, ranks, texts without words."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import method_oracles, oracles
from tests.losses.rank_slices import check_mean_over_ranks


def loss(image, text, scale, all_image, all_text, valid, all_valid, offset):
    return losses.filip_loss(image, text, valid, scale, all_image, all_text, all_valid, offset)


step = ms.jit(ms.value_and_grad(loss, grad_position=(0, 1, 2, 3, 4)))


def call(own, gathered, scale, offset=0):
    """Value and the gradients for (image, text, scale, all_image, all_text); a batch is (image, text, valid)."""
    value, gradients = step(
        *map(Tensor, own[:2]),
        Tensor(scale, ms.float64),
        *map(Tensor, gathered[:2]),
        Tensor(own[2]),
        Tensor(gathered[2]),
        Tensor(offset, ms.int32),
    )
    return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]


def batch(seed, pairs, patches=3, length=4):
    """Texts of all words, a gap between words, one word and, if there are four, no word."""
    rng = np.random.default_rng(seed)
    valid = np.zeros((pairs, length), bool)
    for pair in range(pairs):
        valid[pair, [[0, 1, 2, 3], [0, 3], [1], []][pair % 4]] = True
    return rng.normal(size=(pairs, patches, 5)), rng.normal(size=(pairs, length, 5)), valid


@pytest.mark.parametrize(
    "rows, columns, offset, scale", [(4, 4, 0, 14.3), (2, 6, 4, 5.0), (1, 3, 2, 100.0), (1, 1, 0, 9.0)]
)
def test_value_and_gradient_equal_the_oracle(rows, columns, offset, scale):
    gathered = batch(1, columns)
    own = (*batch(0, rows)[:2], gathered[2][offset : offset + rows])
    value, gradients = call(own, gathered, scale, offset)

    def oracle(image, text, scale, all_image, all_text):
        return method_oracles.filip_loss(image, text, own[2], scale, all_image, all_text, gathered[2], offset)

    arrays = [*own[:2], np.array(scale), *gathered[:2]]
    assert value == pytest.approx(oracle(*arrays), rel=1e-10, abs=1e-12)
    for found, wanted in zip(gradients, oracles.gradient(oracle, *arrays)):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert not gradients[1][~own[2]].any() and not gradients[4][~gathered[2]].any()


def test_mean_over_ranks_is_the_whole_batch():
    image, text, valid = batch(2, 6)

    def value_and_grad(own, gathered, offset):
        # the masks travel as rows of the batch, without a gradient
        value, gradients = call((*own[:2], own[2].astype(bool)), (*gathered[:2], gathered[2].astype(bool)), 8.0, offset)
        return value, gradients[:2], gradients[3:]

    check_mean_over_ranks(value_and_grad, [image, text, valid])


def test_no_words_at_all_and_duplicates():
    image, text, valid = batch(3, 4)
    value, gradients = call((image, text, ~valid & valid), (image, text, ~valid & valid), 10.0)
    assert value == 0 and not any(gradient.any() for gradient in gradients)
    same = (np.repeat(image[:1], 4, 0), np.repeat(text[:1], 4, 0), np.repeat(valid[:1], 4, 0))
    value, gradients = call(same, same, 10.0)
    assert value == pytest.approx(np.log(4)) and all(np.isfinite(gradient).all() for gradient in gradients)


def test_padding_has_no_influence():
    image, text, valid = batch(4, 4)
    value, _ = call((image, text, valid), (image, text, valid), 10.0)
    text[~valid] = 1e6
    assert call((image, text, valid), (image, text, valid), 10.0)[0] == value


def test_half_precision_and_bad_shapes():
    image, text, valid = batch(5, 4)
    image, text = image.astype(np.float16), text.astype(np.float16)
    found = losses.filip_loss(Tensor(image), Tensor(text), Tensor(valid), 10.0)
    wide = (image.astype(float), text.astype(float))
    expected = method_oracles.filip_loss(*wide, valid, 10.0, *wide, valid)
    assert found.dtype == ms.float32 and found.asnumpy() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"\[N, P, D\]"):
        losses.filip_loss(Tensor(image[:, :, :2]), Tensor(text), Tensor(valid), 10.0)
