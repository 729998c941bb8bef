"""Smaller files of a tower: weights in 16 bits, or products in 8 bits."""

import contextlib
import io
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALL = 64  # elements; fewer are not worth a cast
_KEPT_CONVOLUTIONS = 3


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its weights stored in 16 bits and cast to 32 when it is loaded: half the file, same speed.

    A weight that 16 bits cannot hold stays as it is.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    kept, casts = [], []
    for tensor in halved.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < _SMALL or np.abs(array).max() > np.finfo(np.float16).max:
            kept.append(tensor)
            continue
        stored = f"{tensor.name}_float16"
        kept.append(numpy_helper.from_array(array.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.initializer[:], halved.graph.node[:]
    halved.graph.initializer.extend(kept)
    halved.graph.node.extend(nodes)
    onnx.checker.check_model(halved, full_check=True)
    return halved


def text_to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Products in 8 bits, weights scaled per output channel and activations as they come; the token table too."""
    return _dynamic(model, ["MatMul", "Gather"])


def image_to_int8(model: onnx.ModelProto, pictures: np.ndarray) -> onnx.ModelProto:
    """Convolutions in 8 bits with activations scaled as on the calibration pictures; products as in the text tower.

    The first three convolutions stay in 32 bits: few weights, and what they lose is lost to all others.

    Args:
        pictures: float32 [n, 3, S, S], preprocessed; all their activations are held in memory at once.
    """
    # Lazy: loading it takes a second.
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if len(convolutions) > _KEPT_CONVOLUTIONS:
        with _files(model) as (source, target):
            quantize_static(
                source,
                target,
                _Pictures(pictures),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=convolutions[:_KEPT_CONVOLUTIONS],
                per_channel=True,
                reduce_range=True,  # 7-bit weights: sums of 8-bit products saturate on processors without VNNI
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
            )
            model = onnx.load(target)
    return _dynamic(model, ["MatMul"])


class _Pictures:
    """Calibration pictures one at a time, as ONNX Runtime asks for them."""

    def __init__(self, pictures: np.ndarray):
        self._feeds = ({"images": picture[None]} for picture in pictures)

    def get_next(self):
        return next(self._feeds, None)


def _dynamic(model: onnx.ModelProto, operators: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _files(model) as (source, target):
        quantize_dynamic(source, target, op_types_to_quantize=operators, per_channel=True, weight_type=QuantType.QInt8)
        return onnx.load(target)


@contextlib.contextmanager
def _files(model: onnx.ModelProto):
    """The model as a file, and a place for the result: the quantisers change a model they are given in memory."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "float32.onnx")
        onnx.save(model, source)
        log = logging.getLogger()
        level = log.level
        log.setLevel(logging.ERROR)  # they advise steps that the writer has taken already, and print statistics
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield source, Path(folder, "int8.onnx")
        finally:
            log.setLevel(level)
