"""The CPU backend's training forms against the plain forms: same values, same gradients."""

import mindspore as ms
import numpy as np
import pytest

import lightclip_ms  # noqa: F401
from lightclip_ms.analysis.graph import compiled_operators
from lightclip_ms.encoders import cpu_layers
from lightclip_ms.encoders.layers import TransformerBlock

ms.set_context(mode=ms.GRAPH_MODE)


class Gradients(ms.nn.Cell):
    """Value of a weighted sum of a block's output, and its gradients."""

    def __init__(self, block):
        super().__init__()
        self.block = block
        self.value_and_grad = ms.value_and_grad(self.loss, (0, 1), ms.ParameterTuple(block.trainable_params()))

    def loss(self, x, bias, weight):
        return (self.block(x, bias) * weight).sum()

    def construct(self, x, bias, weight):
        return self.value_and_grad(x, bias, weight)


@pytest.mark.parametrize(
    "shape, heads, bias_shape",
    [((3, 5, 16), 2, (1, 1, 5, 5)), ((2, 8, 12), 3, (2, 3, 4, 4))],  # a text's mask; windows with a bias for each head
)
def test_a_block_in_training_equals_the_plain_block(shape, heads, bias_shape):
    rng = np.random.default_rng(0)

    def random(size):
        return ms.Tensor(rng.standard_normal(size, np.float32))

    block = TransformerBlock(shape[2], heads, 0.2, 0.2, 0.2)
    assert isinstance(block.norm1, cpu_layers.LayerNorm) and isinstance(block.out.bias_add, cpu_layers.BiasAdd)
    for parameter in block.trainable_params():
        parameter.set_data(random(parameter.shape) * 0.3)
    net = Gradients(block)
    names = ["x", "bias", *(parameter.name for parameter in block.trainable_params())]
    inputs = random(shape) + 2, random(bias_shape), random(shape)
    results = []
    for training in (False, True, True):  # the second training step: nothing was left behind by the first
        net.set_train(training)
        value, (to_inputs, to_parameters) = net(*inputs)
        results.append((value.asnumpy(), [gradient.asnumpy() for gradient in (*to_inputs, *to_parameters)]))
    # Each would keep 8 bytes for every element it has ever moved.
    assert "Transpose" not in {operator.name for operator in compiled_operators(net, *inputs)}
    for value, gradients in results[1:]:
        np.testing.assert_allclose(value, results[0][0], rtol=1e-5)
        for name, plain, special in zip(names, results[0][1], gradients):
            if not name.endswith("key.bias"):  # zero in exact arithmetic
                np.testing.assert_allclose(special, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max(), err_msg=name)
