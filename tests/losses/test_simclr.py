"""NT-Xent against the float64 oracle: values and gradients, ranks, odd cases."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import method_oracles, oracles
from tests.losses.rank_slices import check_mean_over_ranks


def loss(first, second, temperature, all_first, all_second, offset):
    return losses.simclr_loss(first, second, temperature, all_first, all_second, offset)


step = ms.jit(ms.value_and_grad(loss, grad_position=(0, 1, 3, 4)))


def value_and_grad(own, gathered, offset=0, temperature=0.1):
    value, gradients = step(
        *map(Tensor, own), Tensor(temperature, ms.float64), *map(Tensor, gathered), Tensor(offset, ms.int32)
    )
    gradients = [gradient.asnumpy() for gradient in gradients]
    return value.asnumpy(), gradients[:2], gradients[2:]


def views(seed, pictures):
    return list(np.random.default_rng(seed).normal(size=(2, pictures, 5)))


@pytest.mark.parametrize("rows, columns, offset", [(4, 4, 0), (2, 6, 4), (1, 3, 1), (1, 1, 0)])
def test_value_and_gradient_equal_the_oracle(rows, columns, offset):
    own, gathered = views(0, rows), views(1, columns)
    value, *gradients = value_and_grad(own, gathered, offset, 0.3)

    def oracle(first, second, all_first, all_second):
        return method_oracles.simclr_loss(first, second, 0.3, all_first, all_second, offset)

    assert value == pytest.approx(oracle(*own, *gathered), rel=1e-10, abs=1e-12)
    for found, wanted in zip(sum(gradients, []), oracles.gradient(oracle, *own, *gathered)):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_mean_over_ranks_is_the_whole_batch():
    check_mean_over_ranks(value_and_grad, views(2, 6))
    check_mean_over_ranks(value_and_grad, views(2, 6), ranks=3)


def test_a_single_picture_and_duplicates():
    alone = views(3, 1)
    value, own, gathered = value_and_grad(alone, alone)
    assert value == 0 and not any(np.abs(gradient).max() > 1e-12 for gradient in own + gathered)
    first, _ = views(4, 3)
    same = [np.repeat(first[:1], 3, 0)] * 2  # all six views alike: five equal keys each
    value, own, gathered = value_and_grad(same, same)
    assert value == pytest.approx(np.log(5)) and all(np.isfinite(gradient).all() for gradient in own + gathered)


def test_defaults_and_half_precision():
    first, second = views(5, 4)
    expected = method_oracles.simclr_loss(first, second, 0.1, first, second)
    assert losses.simclr_loss(Tensor(first), Tensor(second)).asnumpy() == pytest.approx(expected, rel=1e-10)
    halves = [array.astype(np.float16) for array in (first, second)]
    found = losses.simclr_loss(*map(Tensor, halves))
    wide = [half.astype(float) for half in halves]
    assert found.dtype == ms.float32
    assert found.asnumpy() == pytest.approx(method_oracles.simclr_loss(*wide, 0.1, *wide), rel=1e-5)


def test_bad_shapes():
    first = Tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="come in pairs"):
        losses.simclr_loss(first, first[:1])
    with pytest.raises(ValueError, match="2 rows but only 1 columns"):
        losses.simclr_loss(first, first, 0.1, first[:1], first[:1])
