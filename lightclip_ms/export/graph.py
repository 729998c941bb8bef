"""An ONNX graph under construction: values with shapes and operators, and the nodes they leave behind.

Shapes are plain integers, so that code written for tensors runs on values unchanged. A dynamic axis counts as a prime
that no other size of a network contains, which is how it is found again when the file is written.
"""

import hashlib
import math

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

OPSET, IR_VERSION = 17, 8
BATCH, LENGTH = 8191, 8209  # stand for the dynamic axes "N" and "L"
_AXES = {BATCH: "N", LENGTH: "L"}


class Value:
    """A float32 or integer tensor of the graph; a constant has its `array`.

    Attributes:
        shape: ints; those that `BATCH` or `LENGTH` divides are dynamic.
        dtype: numpy's.
    """

    def __init__(self, graph, name: str, shape, dtype, array: np.ndarray | None = None):
        self.graph, self.name, self.array = graph, name, array
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __add__(self, other):
        return self.graph.add("Add", self, other)

    def __sub__(self, other):
        return self.graph.add("Sub", self, other)

    def __rsub__(self, other):
        return self.graph.add("Sub", other, self)

    def __mul__(self, other):
        return self.graph.add("Mul", self, other)

    def __truediv__(self, other):
        return self.graph.add("Div", self, other)

    def __neg__(self):
        return self.graph.add("Neg", self)

    __radd__, __rmul__ = __add__, __mul__

    def astype(self, dtype):
        """Itself: a network's casts between float types mean mixed precision, and the graph computes in float32."""
        return self

    def reshape(self, *shape):
        """As numpy's; dynamic sizes stay dynamic."""
        shape = list(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
        if -1 in shape:
            shape[shape.index(-1)] = self.size // -math.prod(shape)
        # 0 copies the size of the same axis; one other dynamic size may be left to the runtime.
        target = [
            size if not _is_dynamic(size) else 0 if axis < self.ndim and self.shape[axis] == size else -1
            for axis, size in enumerate(shape)
        ]
        if target.count(-1) > 1:
            raise NotImplementedError(f"reshape {self.shape} to {shape}: two dynamic sizes move")
        return self.graph.add("Reshape", self, np.array(target, np.int64), shape=shape)

    view = reshape

    def flatten(self):
        """[N, ...] -> [N, the rest]."""
        return self.reshape(self.shape[0], -1)

    def transpose(self, *axes):
        """As numpy's."""
        axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return self.graph.add("Transpose", self, perm=[int(axis) % self.ndim for axis in axes])

    permute = transpose

    def expand_dims(self, axis: int):
        """A new axis of size 1."""
        return self.graph.add("Unsqueeze", self, np.array([axis], np.int64))

    def mean(self, axis=None, keep_dims=False, keepdims=False):
        """Mean over the axes, an int or a tuple."""
        axes = [axis] if isinstance(axis, int) else list(axis)
        return self.graph.add("ReduceMean", self, axes=axes, keepdims=int(keep_dims or keepdims))

    def slice(self, axis: int, start: int, stop: int, step: int = 1):
        """Part of one axis."""
        stop = min(stop, self.shape[axis])
        return self.graph.add("Slice", self, *(np.array([number], np.int64) for number in (start, stop, axis, step)))

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            place = index.index(Ellipsis)
            index = index[:place] + (slice(None),) * (self.ndim - len(index) + 1) + index[place + 1 :]
        value, dropped = self, []
        for axis, part in enumerate(index):
            if isinstance(part, slice):
                start, stop, step = part.indices(self.shape[axis])
                if (start, stop, step) != (0, self.shape[axis], 1):
                    value = value.slice(axis, start, stop, step)
            else:
                part = part % self.shape[axis]
                value, dropped = value.slice(axis, part, part + 1), [*dropped, axis]
        return self.graph.add("Squeeze", value, np.array(dropped, np.int64)) if dropped else value


class Graph:
    """Nodes and constants of one tower; equal constants are stored once."""

    def __init__(self):
        self.nodes, self.constants = [], {}
        self.producers = {}  # name of a value: the node it comes from and that node's inputs
        self._names, self._inputs = {}, []

    def input(self, name: str, shape, dtype) -> Value:
        """An input of the graph."""
        value = Value(self, name, shape, dtype)
        self._inputs.append(value)
        return value

    def constant(self, array) -> Value:
        """A constant; Python floats and float64 become float32."""
        array = np.asarray(array)
        if array.dtype in (np.float64, np.float16):
            array = array.astype(np.float32)
        return Value(self, "", array.shape, array.dtype, np.ascontiguousarray(array).reshape(array.shape))

    def add(self, operator: str, *inputs, shape=None, outputs: int = 1, **attributes):
        """Append a node; what depends on constants alone is computed here and becomes a constant.

        Args:
            inputs: Values, arrays or numbers, which take the dtype of the first Value.
            shape: of the output, where inference cannot know it.

        Returns:
            The output, or a list of them.
        """
        dtype = next((value.dtype for value in inputs if isinstance(value, Value)), np.float32)
        values = [
            each
            if isinstance(each, Value)
            else self.constant(np.asarray(each, dtype) if isinstance(each, (int, float)) else each)
            for each in inputs
        ]
        names = [f"{operator}_{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        fixed = all(value.array is not None for value in values)
        arguments = [f"c{i}" for i in range(len(values))] if fixed else [self._name(value) for value in values]
        node = helper.make_node(operator, arguments, names, name=names[0], **attributes)
        if fixed:
            feeds = {name: value.array for name, value in zip(arguments, values)}
            results = [self.constant(array) for array in ReferenceEvaluator(node).run(None, feeds)]
        else:
            results = self._outputs(node, values, shape)
            self.nodes.append(node)
            self.producers |= dict.fromkeys(names, (node, values))
        return results if outputs > 1 else results[0]

    def _name(self, value: Value) -> str:
        if value.array is None:
            return value.name
        array = value.array
        key = (str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).digest())
        name = self._names.setdefault(key, f"w{len(self._names)}")
        self.constants[name] = array
        return name

    def _outputs(self, node, values, shape) -> list[Value]:
        types, data = {}, {}
        for name, value in zip(node.input, values):
            types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            if value.array is not None and value.dtype == np.int64:  # sizes, axes, starts: inference needs them
                data[name] = numpy_helper.from_array(value.array, name)
        schema = onnx.defs.get_schema(node.op_type, OPSET)
        found = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        outputs = []
        for name in node.output:
            tensor = found[name].tensor_type
            sizes = tuple(dim.dim_value for dim in tensor.shape.dim) if shape is None else tuple(shape)
            outputs.append(Value(self, name, sizes, helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
        return outputs

    def model(self, outputs: dict[str, Value], name: str) -> onnx.ModelProto:
        """The finished, checked model with the named outputs."""
        for target, value in outputs.items():
            self.nodes.append(helper.make_node("Identity", [self._name(value)], [target]))
        used = {each for node in self.nodes for each in node.input}
        graph = helper.make_graph(
            self.nodes,
            name,
            [_value_info(value.name, value) for value in self._inputs],
            [_value_info(target, value) for target, value in outputs.items()],
            [numpy_helper.from_array(array, each) for each, array in self.constants.items() if each in used],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="lightclip_ms"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _is_dynamic(size: int) -> bool:
    return any(size and size % prime == 0 for prime in _AXES)


def _value_info(name: str, value: Value):
    shape = [_AXES.get(size, size) for size in value.shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)
