"""The text tower as ONNX nodes, written out rather than traced: its length is dynamic, and one row of it is enough.

Legend: N batch, L length, D width, H heads, C channels of a head, E embedding size.
"""

import numpy as np

from lightclip_ms.export import trace
from lightclip_ms.export.graph import Graph, Value
from lightclip_ms.export.layers import array, layer_norm, linear


def write_text_tower(graph: Graph, text, ids: Value, with_tokens: bool = False) -> dict[str, Value]:
    """The nodes of a `TextTransformer`.

    Args:
        text: the Cell. ids: int32 [N, L].
        with_tokens: also give the words' tokens, for which the last block runs on all of them.

    Returns:
        {"features": [N, E]} and, if wanted, "tokens": [N, L, D], those after the final LayerNorm.
    """
    n, length = ids.shape
    size = graph.add("Slice", graph.add("Shape", ids, shape=(2,)), *_ints([1], [2], [0]), shape=(1,))

    def cut(constant: np.ndarray, axes, shape) -> Value:
        ends = graph.add("Concat", *[size] * len(axes), axis=0, shape=(len(axes),))
        return graph.add("Slice", graph.constant(constant), *_ints([0] * len(axes)), ends, *_ints(axes), shape=shape)

    end = graph.add("Cast", graph.add("Equal", ids, np.int32(text.eot_id)), to=6)  # int32
    row = graph.add("ArgMax", end, axis=1, keepdims=0)  # [N], the first end of text
    positions = cut(array(text.positional_embedding).astype(np.float32), [0], (length, text.width))
    x = graph.add("Gather", graph.constant(array(text.token_embedding)), ids, axis=0) + positions  # [N, L, D]
    causal = np.triu(np.full((text.context_length,) * 2, -1e4, np.float32), 1)
    mask = cut(causal, [0, 1], (length, length))
    blocks = [block for stage in text.stages for block in stage]
    for block in blocks[:-1]:
        x = _block(graph, block, x, x, mask)
    if with_tokens:
        tokens = layer_norm(graph, text.norm, _block(graph, blocks[-1], x, x, mask))
        return {"features": linear(_pick(graph, tokens, row), array(text.projection.weight)), "tokens": tokens}
    mask = graph.add("Gather", mask, row, axis=0).reshape(n, 1, 1, length)
    pooled = _block(graph, blocks[-1], x, _pick(graph, x, row).reshape(n, 1, text.width), mask)
    pooled = layer_norm(graph, text.norm, pooled.reshape(n, text.width))
    return {"features": linear(pooled, array(text.projection.weight))}


def _ints(*lists) -> list[np.ndarray]:
    return [np.array(each, np.int64) for each in lists]


def _pick(graph: Graph, x: Value, row: Value) -> Value:
    """The row of each text: [N, L, D], [N] -> [N, D]."""
    return graph.add("GatherND", x, row.expand_dims(1), batch_dims=1)


def _block(graph: Graph, block, x: Value, asking: Value, mask: Value) -> Value:
    """A pre-LN `TransformerBlock`: x [N, L, D] gives keys and values, `asking` [N, M, D] goes through it.

    The three maps of query, key and value are one product where they read the same tokens; query includes 1 / sqrt(C).
    """
    scale = (x.shape[-1] // block.heads) ** -0.5
    maps = {
        name: [array(getattr(block, name).weight), array(getattr(block, name).bias)]
        for name in ("query", "key", "value")
    }
    maps["query"] = [scale * each for each in maps["query"]]
    y = layer_norm(graph, block.norm1, x)
    if asking is x:
        query, key, value = _joint(graph, y, maps.values())
    else:
        query = linear(layer_norm(graph, block.norm1, asking), *maps["query"])
        key, value = _joint(graph, y, (maps["key"], maps["value"]))
    query, key, value = (_heads(each, block.heads) for each in (query, key, value))
    weights = graph.add("Softmax", graph.add("MatMul", query, key.transpose(0, 1, 3, 2)) + mask, axis=-1)
    context = graph.add("MatMul", weights, value).transpose(0, 2, 1, 3).reshape(asking.shape)
    x = asking + linear(context, array(block.out.weight), array(block.out.bias))
    return x + trace.run(graph, block, layer_norm(graph, block.norm2, x), method="mlp")


def _joint(graph: Graph, x: Value, maps) -> list[Value]:
    """Several maps of the same tokens as one product."""
    weights, biases = zip(*maps)
    y = linear(x, np.concatenate(weights), np.concatenate(biases))
    return graph.add("Split", y, np.array([len(each) for each in weights], np.int64), outputs=len(weights), axis=-1)


def _heads(x: Value, heads: int) -> Value:
    """[N, L, D] -> [N, H, L, C]."""
    n, length, width = x.shape
    return x.reshape(n, length, heads, width // heads).transpose(0, 2, 1, 3)
