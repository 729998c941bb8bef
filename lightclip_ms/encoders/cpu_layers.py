"""Training forms of a few layers for the CPU backend, whose kernels for some gradients are 3 to 20 times too slow.

Values and parameters are those of the plain forms; `layers` chooses. Everywhere else the plain operators are better.
"""

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.encoders import attention


def _column_sums(x):
    """[M, D] -> [D] by a product, 2 to 5 times as fast as `ReduceSum`.

    Halves, doubled afterwards, make the result a tensor of its own: of the reshaped product itself, `AllReduce` read
    zeros in a process's first step.
    """
    halves = ops.full((1, x.shape[0]), 0.5, dtype=ms.float32)
    return 2 * ops.MatMul()(halves, x).reshape(-1)


class _BiasAdd(nn.Cell):
    """[M, D] + [D]."""

    def __init__(self):
        super().__init__()
        self.add = ops.BiasAdd()

    def construct(self, x, bias):
        return self.add(x, bias)

    def bprop(self, x, bias, out, dout):
        return dout, _column_sums(dout)


class BiasAdd(nn.Cell):
    """[M, D] + [D]; the special form is for float32, as a custom gradient does not undo casts of parameters."""

    def __init__(self):
        super().__init__()
        self.add = ops.BiasAdd()
        self._add = _BiasAdd()

    def construct(self, x, bias):
        return self._add(x, bias) if x.dtype == ms.float32 else self.add(x, bias)


class _Affine(nn.Cell):
    """[M, D] * [D] + [D].

    `x * gamma` would take 1.6 to 2.3 times as long as a product with gamma's copies, and its kernel keeps two
    positions, 16 bytes, for every element as long as the process lives.
    """

    def __init__(self):
        super().__init__()
        self.add = ops.BiasAdd()
        self.tile = ops.Tile()
        # ReduceSum instead of the matmul trick: norms stay float32 under O2, where no float32 MatMul is expected.
        self.sum = ops.ReduceSum()

    def construct(self, x, gamma, beta):
        return self.add(x * self.tile(gamma.reshape(1, -1), (x.shape[0], 1)), beta)

    def bprop(self, x, gamma, beta, out, dout):
        to_x = dout * self.tile(gamma.reshape(1, -1), (x.shape[0], 1))
        return to_x, self.sum(dout * x, 0), self.sum(dout, 0)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation of the last axis; in training as batch normalisation with every token as a channel."""

    def __init__(self, width: int, epsilon: float):
        super().__init__((width,), epsilon=epsilon)
        # momentum 0: the kernel would otherwise write running statistics into the constants it is given
        self._standardize = ops.BatchNorm(is_training=True, epsilon=epsilon, momentum=0.0)
        self._affine = _Affine()

    def construct(self, x):
        if not self.training:
            return super().construct(x)
        tokens, width = x.size // x.shape[-1], x.shape[-1]
        ones, zeros = ops.ones((tokens,), ms.float32), ops.zeros((tokens,), ms.float32)
        # Every token is a channel of one picture [1, tokens, width, 1]: the statistics are those of layer norm.
        y = self._standardize(x.reshape(1, tokens, width, 1), ones, zeros, zeros, ones)[0]
        return self._affine(y.reshape(tokens, width), self.gamma, self.beta).reshape(x.shape)


class _Attention(nn.Cell):
    """softmax(query key' + bias) value with a bias [B, H, L, L]; returns the weights too.

    The gradient of softmax is weights * (d - rowsum(d * weights)) with d = dout value'. The row sums equal those of
    dout * out, and subtracting them is one more channel of the product: no broadcast touches the [N, H, L, L] scores.
    """

    def __init__(self):
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_nt = ops.BatchMatMul(transpose_b=True)
        self.product_tn = ops.BatchMatMul(transpose_a=True)

    def construct(self, query, key, value, bias):
        scores = self.product_nt(query, key)
        shifted = ops.bias_add(scores.reshape(-1, bias.size), bias.reshape(-1))
        weights = ops.softmax(shifted.reshape(scores.shape), -1)
        return self.product(weights, value), weights

    def bprop(self, query, key, value, bias, out, dout):
        context, weights = out
        dout = dout[0]
        n, heads, length, channels = dout.shape
        minus_one = ops.full((channels, 1), -1.0, dtype=ms.float32)
        shift = ops.MatMul()((dout * context).reshape(-1, channels), minus_one).reshape(n, heads, length, 1)
        one = ops.ones(value.shape[:-1] + (1,), ms.float32)
        dweights = self.product_nt(ops.concat((dout, shift), -1), ops.concat((value, one), -1))
        dscores = weights * dweights
        dbias = _column_sums(dscores.reshape(-1, bias.size)).reshape(bias.shape)
        return self.product(dscores, key), self.product_tn(dscores, query), self.product_tn(weights, dout), dbias


class Attention(attention.Attention):
    """Attention with a bias; the special form is for training in float32.

    Heads are cut and joined, not transposed: `Transpose` takes twice as long, forward and backward, and keeps 8 bytes
    for every element as long as the process lives.
    """

    def __init__(self):
        super().__init__()
        self._attend = _Attention()

    def split(self, x, heads: int):
        if not self.training or x.dtype != ms.float32:
            return attention.split_heads(x, heads)
        return ops.stack(ops.split(x, x.shape[2] // heads, 2), 1)

    def merge(self, x):
        if not self.training or x.dtype != ms.float32:
            return attention.merge_heads(x)
        return ops.concat(ops.unstack(x, 1), 2)

    def construct(self, query, key, value, bias):
        if not self.training or query.dtype != ms.float32:
            return super().construct(query, key, value, bias)
        if bias.shape[1] < query.shape[1]:
            bias = ops.tile(bias, (1, query.shape[1], 1, 1))
        return self._attend(query * query.shape[-1] ** -0.5, key, value, bias)[0]
