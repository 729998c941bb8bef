"""How each standard layer of MindSpore becomes ONNX nodes: one function per class that defines a `construct`.

A writer gets the graph, the Cell and its inputs as `Value`s. `trace.py` runs whatever is composed of these.
"""

import math

import numpy as np
from onnx import helper

from lightclip_ms.export.graph import Graph, Value


def array(parameter) -> np.ndarray:
    """A parameter in float64, so that what is folded into it is rounded once."""
    return parameter.asnumpy().astype(np.float64)


def linear(x: Value, weight: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """x W' + b on the last axis; weight [out, in]."""
    y = x.graph.add("MatMul", x, weight.T)
    return y if bias is None else y + x.graph.constant(bias)


def dense(graph: Graph, cell, x: Value) -> Value:
    """`nn.Dense` without an activation."""
    if getattr(cell, "activation", None) is not None:
        raise NotImplementedError("Dense with an activation of its own")
    return linear(x, array(cell.weight), array(cell.bias) if cell.has_bias else None)


def layer_norm(graph: Graph, cell, x: Value) -> Value:
    """`nn.LayerNorm` over the last axes that `gamma` has."""
    axis = x.ndim - len(cell.gamma.shape)
    return graph.add(
        "LayerNormalization", x, array(cell.gamma), array(cell.beta), axis=axis, epsilon=float(cell.epsilon)
    )


def convolution(graph: Graph, cell, x: Value) -> Value:
    """`nn.Conv2d`; every padding mode becomes explicit numbers."""
    weight = array(cell.weight)
    bias = [array(cell.bias)] if cell.has_bias else []
    stride, dilation = _pair(cell.stride), _pair(cell.dilation)
    return graph.add(
        "Conv",
        x,
        graph.constant(weight),
        *(graph.constant(each) for each in bias),
        kernel_shape=list(weight.shape[2:]),
        strides=stride,
        dilations=dilation,
        group=int(cell.group),
        pads=_pads(cell, x, weight.shape[2:], stride, dilation),
    )


def batch_norm(graph: Graph, cell, x: Value) -> Value:
    """Batch normalisation with its running statistics, folded into the convolution before it where there is one.

    W' = W s, b' = (b - mean) s + beta with s = gamma / sqrt(variance + eps), computed in float64.
    """
    scale = array(cell.gamma) / np.sqrt(array(cell.moving_variance) + cell.eps)
    shift = array(cell.beta) - array(cell.moving_mean) * scale
    node, inputs = graph.producers.get(x.name, (None, ()))
    if node is None or node.op_type != "Conv" or node is not graph.nodes[-1]:
        return x * graph.constant(scale[:, None, None]) + graph.constant(shift[:, None, None])
    graph.nodes.pop()  # it is the last node, so nothing else has read it
    source, weight, *bias = inputs
    weight = weight.array * scale[:, None, None, None]
    bias = shift + (bias[0].array * scale if bias else 0)
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return graph.add("Conv", source, graph.constant(weight), graph.constant(bias), **attributes)


def _pool(operator: str, **attributes):
    def write(graph: Graph, cell, x: Value) -> Value:
        kernel, stride = _pair(cell.kernel_size), _pair(cell.stride)
        pads = _pads(cell, x, kernel, stride, (1, 1))
        return graph.add(operator, x, kernel_shape=kernel, strides=stride, pads=pads, **attributes)

    return write


def _pair(value) -> list[int]:
    """A size of the last two axes from MindSpore's int, pair or four numbers."""
    values = [value] * 2 if isinstance(value, int) else list(value)[-2:]
    return [int(each) for each in values]


def _pads(cell, x: Value, kernel, stride, dilation) -> list[int]:
    """[top, left, bottom, right] of a layer's `pad_mode`."""
    mode = str(cell.pad_mode).lower()
    if mode == "valid":
        return [0, 0, 0, 0]
    if mode == "pad":
        padding = cell.padding
        padding = [padding] * 4 if isinstance(padding, int) else list(padding)
        padding = padding[1:] if len(padding) == 3 else padding  # MaxPool2d pads by a 3-D kernel of depth 1
        padding = [padding[0], padding[0], padding[1], padding[1]] if len(padding) == 2 else padding
        top, bottom, left, right = (int(each) for each in padding)
        return [top, left, bottom, right]
    before, after = [], []
    for size, reach, step, spread in zip(x.shape[2:], kernel, stride, dilation):
        missing = max((math.ceil(size / step) - 1) * step + (reach - 1) * spread + 1 - size, 0)
        before.append(missing // 2)
        after.append(missing - missing // 2)
    return before + after


def attention(graph: Graph, cell, query: Value, key: Value, value: Value, bias: Value | None = None) -> Value:
    """`encoders.attention.Attention`: softmax(query key' / sqrt(C) + bias) value on [N, H, L, C]."""
    scores = graph.add("MatMul", query * (query.shape[-1] ** -0.5), key.transpose(0, 1, 3, 2))
    if bias is not None:
        shape = scores.shape
        if bias.shape[0] != 1:  # one bias for each of B groups of sequences
            scores = scores.reshape(-1, bias.shape[0], *shape[1:])
        scores = (scores + bias).reshape(shape)
    return graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)


def _unary(operator: str, **attributes):
    return lambda graph, cell, x: graph.add(operator, x, **attributes)


def _relu6(graph: Graph, cell, x: Value) -> Value:
    return graph.add("Clip", x, 0.0, 6.0)


def _silu(graph: Graph, cell, x: Value) -> Value:
    return x * graph.add("Sigmoid", x)


def gelu(graph: Graph, cell, x: Value) -> Value:
    """x Phi(x), or its tanh approximation, which is MindSpore's default."""
    if getattr(cell, "approximate", True) in (True, "tanh"):
        inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (graph.add("Tanh", inner) + 1.0)
    return x * 0.5 * (graph.add("Erf", x * math.sqrt(0.5)) + 1.0)


def _nothing(graph: Graph, cell, x: Value) -> Value:
    return x


LAYERS = {
    "Attention": attention,
    "AvgPool2d": _pool("AveragePool"),
    "Conv2d": convolution,
    "Dense": dense,
    "DropPath": _nothing,
    "Dropout": _nothing,
    "GELU": gelu,
    "HSigmoid": _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "HSwish": _unary("HardSwish"),
    "Identity": _nothing,
    "LayerNorm": layer_norm,
    "MaxPool2d": _pool("MaxPool"),
    "ReLU": _unary("Relu"),
    "ReLU6": _relu6,
    "SiLU": _silu,
    "Sigmoid": _unary("Sigmoid"),
    "Tanh": _unary("Tanh"),
    "_BatchNorm": batch_norm,  # where BatchNorm2d's construct is
}
