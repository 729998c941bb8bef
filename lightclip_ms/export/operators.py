"""How MindSpore's functions and primitives become ONNX nodes, found by their names in lower case.

`Concat`, `concat` and `cat` are one entry each; a primitive object passes its attributes as keywords.
"""

import numpy as np

from lightclip_ms.export.graph import Graph, Value


def _concat(graph: Graph, values, axis=0) -> Value:
    return graph.add("Concat", *values, axis=axis)


def _softmax(graph: Graph, x: Value, axis=-1) -> Value:
    return graph.add("Softmax", x, axis=axis if isinstance(axis, int) else axis[0])


def _gather(graph: Graph, x: Value, index: Value, axis=0) -> Value:
    return graph.add("Gather", x, index, axis=axis)


def _layer_norm(graph: Graph, x: Value, gamma: Value, beta: Value, begin_norm_axis: int, epsilon: float):
    """(normalised, mean, variance) as the primitive; nobody reads the last two."""
    axis, epsilon = int(begin_norm_axis), float(epsilon)
    return graph.add("LayerNormalization", x, gamma, beta, axis=axis, epsilon=epsilon), None, None


def _matmul(graph: Graph, left: Value, right: Value, transpose_a=False, transpose_b=False) -> Value:
    left, right = (
        each.transpose(*range(each.ndim - 2), each.ndim - 1, each.ndim - 2) if swapped else each
        for each, swapped in ((left, transpose_a), (right, transpose_b))
    )
    return graph.add("MatMul", left, right)


def _mean(graph: Graph, x: Value, axis=None, keep_dims=False, keepdims=False) -> Value:
    return x.mean(axis, keep_dims or keepdims)


def _split(graph: Graph, x: Value, split_size_or_sections, axis=0) -> list[Value]:
    sizes = split_size_or_sections
    if isinstance(sizes, int):
        sizes = [sizes] * (x.shape[axis] // sizes)
    return graph.add("Split", x, np.array(sizes, np.int64), outputs=len(sizes), axis=axis)


def _chunk(graph: Graph, x: Value, chunks: int, axis=0) -> list[Value]:
    return _split(graph, x, x.shape[axis] // chunks, axis)


def _adaptive_average(graph: Graph, x: Value, output_size) -> Value:
    if output_size not in (1, (1, 1), [1, 1]):
        raise NotImplementedError(f"adaptive_avg_pool2d to {output_size}")
    return graph.add("GlobalAveragePool", x)


def _unary(operator: str, **attributes):
    return lambda graph, x: graph.add(operator, x, **attributes)


def _binary(operator: str):
    return lambda graph, left, right: graph.add(operator, left, right)


OPERATORS = {
    "adaptive_avg_pool2d": _adaptive_average,
    "add": _binary("Add"),
    "batchmatmul": _matmul,
    "bmm": _matmul,
    "cat": _concat,
    "chunk": _chunk,
    "clamp": lambda graph, x, low, high: graph.add("Clip", x, float(low), float(high)),
    "clip": lambda graph, x, low, high: graph.add("Clip", x, float(low), float(high)),
    "concat": _concat,
    "erf": _unary("Erf"),
    "flatten": lambda graph, x: x.flatten(),
    "gather": _gather,
    "hardsigmoid": _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hardswish": _unary("HardSwish"),
    "hsigmoid": _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "layernorm": _layer_norm,
    "matmul": _matmul,
    "mean": _mean,
    "mul": _binary("Mul"),
    "multiply": _binary("Mul"),
    "reducemean": _mean,
    "rank": lambda graph, x: x.ndim,
    "relu": _unary("Relu"),
    "relu6": lambda graph, x: graph.add("Clip", x, 0.0, 6.0),
    "reshape": lambda graph, x, shape: x.reshape(shape),
    "shape": lambda graph, x: x.shape,
    "sigmoid": _unary("Sigmoid"),
    "softmax": _softmax,
    "split": _split,
    "tanh": _unary("Tanh"),
    "transpose": lambda graph, x, axes: x.transpose(axes),
}
PRIMITIVE_ATTRIBUTES = ("axis", "keep_dims", "transpose_a", "transpose_b", "begin_norm_axis", "epsilon")
