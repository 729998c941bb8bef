"""The pairwise sigmoid loss against the float64 oracle: values and gradients, ranks, odd cases."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import method_oracles, oracles
from tests.losses.rank_slices import check_mean_over_ranks


def loss(image, text, scale, bias, all_image, all_text, offset):
    return losses.siglip_loss(image, text, scale, bias, all_image, all_text, offset)


step = ms.jit(ms.value_and_grad(loss, grad_position=(0, 1, 2, 3, 4, 5)))


def call(own, gathered, scale, bias, offset=0):
    value, gradients = step(
        *map(Tensor, own),
        Tensor(scale, ms.float64),
        Tensor(bias, ms.float64),
        *map(Tensor, gathered),
        Tensor(offset, ms.int32),
    )
    return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]


def features(seed, pairs):
    return list(np.random.default_rng(seed).normal(size=(2, pairs, 5)))


@pytest.mark.parametrize(
    "rows, columns, offset, scale, bias",
    [(4, 4, 0, 10.0, -10.0), (2, 6, 4, 5.0, 1.0), (1, 3, 1, 100.0, 0.0), (1, 1, 0, 10.0, -10.0)],
)
def test_value_and_gradient_equal_the_oracle(rows, columns, offset, scale, bias):
    own, gathered = features(0, rows), features(1, columns)
    value, gradients = call(own, gathered, scale, bias, offset)

    def oracle(image, scale, bias, all_text):
        return method_oracles.siglip_loss(image, None, scale, bias, all_text, offset)

    arrays = [own[0], np.array(scale), np.array(bias), gathered[1]]
    assert value == pytest.approx(oracle(*arrays), rel=1e-10)
    expected = oracles.gradient(oracle, *arrays)
    for found, wanted in zip([gradients[0], *gradients[2:4], gradients[5]], expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert not gradients[1].any() and not gradients[4].any()  # every pair is counted once, with its image


def test_mean_over_ranks_is_the_whole_batch():
    def value_and_grad(own, gathered, offset):
        value, gradients = call(own, gathered, 10.0, -3.0, offset)
        return value, gradients[:2], gradients[4:]

    check_mean_over_ranks(value_and_grad, features(2, 6))


def test_duplicates_zero_features_and_far_logits():
    image, text = features(3, 3)
    image[1], image[2] = image[0], 0
    value, gradients = call([image, text], [image, text], 100.0, 0.0)
    assert value == pytest.approx(method_oracles.siglip_loss(image, text, 100.0, 0.0, text), rel=1e-10)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    halves = [Tensor(array.astype(np.float16)) for array in (image, text)]
    found = losses.siglip_loss(*halves, 1e4, -10.0)  # in float16 these logits would be the largest number
    wide = [half.asnumpy().astype(float) for half in halves]
    expected = method_oracles.siglip_loss(*wide, 1e4, -10.0, wide[1])
    assert found.dtype == ms.float32 and found.asnumpy() == pytest.approx(expected, rel=1e-5)


def test_bad_shapes():
    image = Tensor(np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="come in pairs"):
        losses.siglip_loss(image, image[:2], 10.0, -10.0)
    with pytest.raises(ValueError, match="3 rows but only 2 columns"):
        losses.siglip_loss(image, image, 10.0, -10.0, image[:2], image[:2])


def test_plain_numbers_keep_the_precision_of_the_features():
    image, text = features(4, 3)
    found = losses.siglip_loss(Tensor(image), Tensor(text), 3.3, -1.1)
    assert found.asnumpy() == pytest.approx(method_oracles.siglip_loss(image, text, 3.3, -1.1, text), rel=1e-10)
