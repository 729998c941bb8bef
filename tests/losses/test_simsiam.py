"""SimSiam's loss against the float64 oracle; the projection gets no gradient."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import method_oracles, oracles

step = ms.jit(ms.value_and_grad(losses.simsiam_loss, grad_position=(0, 1)))


@pytest.mark.parametrize("pictures", [1, 4])
def test_value_and_gradient_equal_the_oracle(pictures):
    predicted, projected = np.random.default_rng(0).normal(size=(2, pictures, 5))
    value, (found, stopped) = step(Tensor(predicted), Tensor(projected))
    assert value.asnumpy() == pytest.approx(method_oracles.simsiam_loss(predicted, projected), rel=1e-10)
    (wanted,) = oracles.gradient(lambda moved: method_oracles.simsiam_loss(moved, projected), predicted)
    np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-5, atol=1e-8)
    assert not stopped.asnumpy().any()


def test_mean_over_ranks_is_the_whole_batch():
    predicted, projected = np.random.default_rng(1).normal(size=(2, 6, 5))
    whole, (gradient, _) = step(Tensor(predicted), Tensor(projected))
    parts = [step(Tensor(predicted[rows]), Tensor(projected[rows])) for rows in (slice(0, 3), slice(3, 6))]
    assert sum(part[0].asnumpy() for part in parts) / 2 == pytest.approx(whole.asnumpy(), rel=1e-10)
    joined = np.concatenate([part[1][0].asnumpy() for part in parts]) / 2
    np.testing.assert_allclose(joined, gradient.asnumpy(), rtol=1e-10)


def test_zero_vectors_and_half_precision():
    predicted, projected = np.random.default_rng(2).normal(size=(2, 3, 5))
    predicted[1] = projected[2] = 0
    value, (found, _) = step(Tensor(predicted), Tensor(projected))
    assert value.asnumpy() == pytest.approx(method_oracles.simsiam_loss(predicted, projected), rel=1e-10)
    assert np.isfinite(found.asnumpy()).all() and not found.asnumpy()[1:].any()
    half = losses.simsiam_loss(*(Tensor(array.astype(np.float16)) for array in (predicted, predicted)))
    assert half.dtype == ms.float32 and half.asnumpy() == pytest.approx(-2 / 3, rel=1e-5)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"both be \[N, D\]"):
        losses.simsiam_loss(Tensor(np.zeros((2, 3), np.float32)), Tensor(np.zeros((2, 4), np.float32)))
