"""Layers that several encoders share; every choice of operator that depends on speed is made here.

Legend: N batch, P image tokens, L sequence length, D width, H heads.
"""
import mindspore.nn as nn
import mindspore.ops as ops
from mindspore.common.initializer import Normal

HEAD_CHANNELS = 64  # channels of an attention head, wherever the width decides the number of heads


def dense(inputs: int, outputs: int, std: float, bias: bool = True) -> nn.Dense:
    """A linear map of the last axis with normally distributed weights; `nn.Dense` flattens to 2-D, which is faster."""
    return nn.Dense(inputs, outputs, weight_init=Normal(std), bias_init="zeros", has_bias=bias)


def layer_norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm((width,), epsilon=1e-5)


def conv_norm(inputs, outputs, kernel, stride=1, groups=1, activation="relu", gamma="ones") -> nn.SequentialCell:
    """Convolution without bias, batch normalisation and an activation; odd kernels keep the map's size / stride."""
    std = (2 * groups / (kernel * kernel * outputs)) ** 0.5
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, "pad", kernel // 2, group=groups, weight_init=Normal(std)),
        nn.BatchNorm2d(outputs, gamma_init=gamma),
    ]
    if activation:
        layers.append(nn.get_activation(activation))
    return nn.SequentialCell(layers)


def map_to_tokens(x):
    """[N, C, H, W] -> [N, H * W, C]."""
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height * width).transpose(0, 2, 1)


def quick_gelu(x):
    """x * sigmoid(1.702 x): 4 to 10 times faster than both GELUs on CPU, FastGelu on Ascend, and ONNX has it."""
    return x * ops.sigmoid(1.702 * x)


def check_heads(width: int, heads: int, what: str) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"{what}: {heads} heads do not divide the width {width}; choose a divisor")


def split_heads(x, heads: int):
    """[N, L, D] -> [N, H, L, D / H]."""
    n, length, width = x.shape
    return x.reshape(n, length, heads, width // heads).transpose(0, 2, 1, 3)


def attend(query, key, value, heads: int, bias=None):
    """Multi-head scaled dot-product attention.

    Args:
        query: [N, Lq, D]; key, value: [N, Lk, D].
        bias: None or [B, H, Lq, Lk], added to the scores, where B divides N and repeats, and 1 may stand for H.

    Returns:
        [N, Lq, D].
    """
    n, length, width = query.shape
    query = split_heads(query * (width // heads) ** -0.5, heads)
    scores = ops.BatchMatMul(transpose_b=True)(query, split_heads(key, heads))  # [N, H, Lq, Lk]
    if bias is not None:
        shape = scores.shape
        scores = (scores.reshape(-1, bias.shape[0], *shape[1:]) + bias).reshape(shape)
    context = ops.BatchMatMul()(ops.softmax(scores, -1), split_heads(value, heads))
    return context.transpose(0, 2, 1, 3).reshape(n, length, width)


class TransformerBlock(nn.Cell):
    """Pre-LN transformer block with QuickGELU: [N, L, D] -> [N, L, D].

    Three maps for query, key and value instead of one: slicing one map's result on an axis cannot be exported to ONNX.

    Args:
        width, heads: D, H.
        attention_std, expand_std, projection_std: initial deviations of the weights of query, key and value, of the
            map to 4 D, and of the two maps back to the residual stream.
    """

    def __init__(self, width: int, heads: int, attention_std: float, expand_std: float, projection_std: float):
        super().__init__()
        self.heads = heads
        self.norm1 = layer_norm(width)
        self.query = dense(width, width, attention_std)
        self.key = dense(width, width, attention_std)
        self.value = dense(width, width, attention_std)
        self.out = dense(width, width, projection_std)
        self.norm2 = layer_norm(width)
        self.expand = dense(width, 4 * width, expand_std)
        self.contract = dense(4 * width, width, projection_std)

    def construct(self, x, bias):
        """`bias` as in `attend`, except that N sequences of L tokens may be cut into shorter ones: its last axis."""
        n, length, width = x.shape
        y = self.norm1(x).reshape(-1, bias.shape[-1], width)
        y = attend(self.query(y), self.key(y), self.value(y), self.heads, bias)
        x = x + self.out(y.reshape(n, length, width))
        return x + self.contract(quick_gelu(self.expand(self.norm2(x))))
