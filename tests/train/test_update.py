"""Norm of all gradients against a float64 oracle, for as many parameters as a large model has."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import lightclip_ms  # noqa: F401  (prepares the process before MindSpore is loaded)
from lightclip_ms.train.update import global_norm


class Norm(nn.Cell):
    def construct(self, *gradients):
        return global_norm(gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 4), (4,), (2, 3, 5, 5), (), (1,)],
        [(1,)],
        [(2, 3), (3,)]
        * 300,  # graph mode's depth of calls is limited: a loop over this many gradients does not compile
    ],
    ids=["mixed", "one", "hundreds"],
)
def test_global_norm(shapes, dtype):
    ms.set_context(mode=ms.GRAPH_MODE)
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    expected = np.sqrt(sum(np.sum(np.asarray(gradient, np.float64) ** 2) for gradient in gradients))
    norm = Norm()(*(Tensor(gradient) for gradient in gradients))
    assert norm.dtype == ms.float32 and norm.shape == ()
    np.testing.assert_allclose(norm.asnumpy(), expected, rtol=1e-6)
