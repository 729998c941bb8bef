"""Both towers of a model as ONNX models, in memory; what cannot be written is refused here, before any file is made."""

import numpy as np
import onnx

from lightclip_ms.export import trace
from lightclip_ms.export.graph import BATCH, LENGTH, Graph
from lightclip_ms.export.text_tower import write_text_tower


def image_tower(visual, projection: np.ndarray | None = None) -> onnx.ModelProto:
    """An image encoder: `images` float32 [N, 3, S, S] -> `features` [N, E].

    Args:
        visual: the Cell.
        projection: [D, C] of token alignment; with it there is also `tokens` [N, P, D], the patches among the words.

    Raises:
        ValueError: the encoder has a layer or operator that has no ONNX form here; the message names both.
    """
    graph = Graph()
    images = graph.input("images", (BATCH, 3, visual.image_size, visual.image_size), np.float32)
    try:
        _, tokens, features = trace.run(graph, visual, images, method="forward_features")
    except NotImplementedError as error:
        raise ValueError(f"image encoder {type(visual).__name__} cannot be written as ONNX: {error}") from None
    outputs = {"features": features}
    if projection is not None:
        outputs["tokens"] = graph.add("MatMul", tokens, projection.T)
    return graph.model(outputs, "image")


def text_tower(text, with_tokens: bool = False) -> onnx.ModelProto:
    """A text encoder: `ids` int32 [N, L] -> `features` [N, E], and with tokens also `tokens` [N, L, D]."""
    graph = Graph()
    ids = graph.input("ids", (BATCH, LENGTH), np.int32)
    return graph.model(write_text_tower(graph, text, ids, with_tokens), "text")
