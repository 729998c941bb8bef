"""Nearest neighbours in a queue against brute force."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from tests.losses import method_oracles


def picked(features, queue, filled):
    return losses.nearest_neighbours(features, queue, filled)


compiled = ms.jit(picked)


@pytest.mark.parametrize("filled", [1, 4, 8])
def test_equals_brute_force_for_every_filling(filled):
    rng = np.random.default_rng(0)
    features, queue = rng.normal(size=(5, 3)), rng.normal(size=(8, 3)) * rng.uniform(0.1, 9, (8, 1))
    queue[filled:] = features[:1] * 1e3  # rows not in use would win
    found = compiled(Tensor(features), Tensor(queue), Tensor(filled, ms.int32))
    assert found.dtype == ms.int32
    assert found.asnumpy().tolist() == method_oracles.nearest_neighbours(features, queue, filled)
    if filled == 8:
        assert losses.nearest_neighbours(Tensor(features), Tensor(queue)).asnumpy().tolist() == found.asnumpy().tolist()


def test_duplicates_zero_rows_and_half_precision():
    queue = np.array([[0, 0], [1, 0], [2, 0], [0, 1]], np.float16)
    found = losses.nearest_neighbours(Tensor(np.array([[3, 0.1], [0, -1]], np.float16)), Tensor(queue), 4)
    assert found.asnumpy().tolist() == [1, 0]  # the first of two equal ones; a zero row is at cosine 0


def test_no_gradient():
    def loss(features, queue):
        rows = losses.nearest_neighbours(features, queue, 3)
        return (queue[rows] * features).sum()

    rng = np.random.default_rng(1)
    features, queue = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
    gradient = ms.jit(ms.grad(loss))(Tensor(features), Tensor(queue)).asnumpy()
    rows = method_oracles.nearest_neighbours(features, queue, 3)
    np.testing.assert_allclose(gradient, queue[rows], rtol=1e-12)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"the queue \[Q, E\]"):
        losses.nearest_neighbours(Tensor(np.zeros((2, 3), np.float32)), Tensor(np.zeros((4, 2), np.float32)))
