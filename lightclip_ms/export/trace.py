"""Run a Cell's `construct` on `Value`s instead of tensors, so that what it computes is written down as ONNX nodes.

The code of `construct` runs as it is, with a view of its Cell in place of `self` and views of MindSpore's modules among
its globals. A view hands standard layers to `layers.LAYERS`, operators to `operators.OPERATORS`, and parameters over as
constants; every other Cell and function is run the same way. So a new encoder needs no exporter of its own.
"""

import functools
import types

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.export.graph import Graph
from lightclip_ms.export.layers import LAYERS
from lightclip_ms.export.operators import OPERATORS, PRIMITIVE_ATTRIBUTES


def run(graph: Graph, cell: nn.Cell, *inputs, method: str = "construct"):
    """What `cell.method(*inputs)` returns, in evaluation mode, as `Value`s of the graph.

    Raises:
        NotImplementedError: an operator or layer that has no entry; the message names it and the Cell.
    """
    return getattr(_CellView(graph, cell), method)(*inputs)


class _CellView:
    """A Cell whose parameters are constants and whose parts are views."""

    training = False

    def __init__(self, graph: Graph, cell: nn.Cell):
        self.__dict__ |= {"_graph": graph, "_cell": cell}

    def __getattr__(self, name: str):
        value = getattr(self._cell, name)
        if isinstance(value, types.MethodType) and value.__self__ is self._cell:
            return functools.partial(_call, self._graph, value.__func__, self)
        return _view(self._graph, value)

    def __iter__(self):
        return (_view(self._graph, cell) for cell in self._cell)

    def __len__(self) -> int:
        return len(self._cell)

    def __getitem__(self, index):
        return _view(self._graph, self._cell[index])

    def __call__(self, *inputs, **keywords):
        cell = self._cell
        # A subclass with a construct of its own is another layer.
        defining = next(each for each in type(cell).__mro__ if "construct" in vars(each))
        writer = LAYERS.get(defining.__name__)
        try:
            if writer is not None:
                return writer(self._graph, cell, *inputs, **keywords)
            if isinstance(cell, nn.SequentialCell):
                return functools.reduce(lambda x, part: part(x), self, *inputs)
            return self.construct(*inputs, **keywords)
        except (TypeError, AttributeError, KeyError) as error:  # MindSpore itself met a Value
            raise NotImplementedError(f"{type(cell).__name__}: {' '.join(str(error).split())[:200]}") from error


class _ModuleView:
    """`mindspore.ops` or another module of functions and primitives."""

    def __init__(self, graph: Graph, module):
        self._graph, self._module = graph, module

    def __getattr__(self, name: str):
        value = getattr(self._module, name)
        if isinstance(value, type) and issubclass(value, (ops.Primitive, nn.Cell)):
            return lambda *arguments, **keywords: _view(self._graph, value(*arguments, **keywords))
        return _operator(self._graph, name) if callable(value) else _view(self._graph, value)


def _operator(graph: Graph, name: str, **attributes):
    def call(*inputs, **keywords):
        if name.lower() not in OPERATORS:
            raise NotImplementedError(f"the operator {name} has no ONNX form here")
        return OPERATORS[name.lower()](graph, *inputs, **attributes, **keywords)

    return call


def _view(graph: Graph, value):
    """What code that runs on Values sees in place of `value`."""
    if isinstance(value, nn.Cell):
        return _CellView(graph, value)
    if isinstance(value, ms.Tensor):  # a Parameter is one
        return graph.constant(value.asnumpy())
    if isinstance(value, ops.Primitive):
        present = {name: getattr(value, name) for name in PRIMITIVE_ATTRIBUTES if hasattr(value, name)}
        return _operator(graph, type(value).__name__, **present)
    if isinstance(value, types.ModuleType) and value.__name__.startswith("mindspore"):
        return _ModuleView(graph, value)
    if isinstance(value, types.FunctionType):
        if value.__module__.startswith("mindspore"):
            return _operator(graph, value.__name__)
        return functools.partial(_call, graph, value)
    if isinstance(value, (list, tuple)) and any(isinstance(each, (nn.Cell, ms.Tensor)) for each in value):
        return type(value)(_view(graph, each) for each in value)
    return value


def _call(graph: Graph, function: types.FunctionType, *arguments, **keywords):
    """Call a Python function with views among its globals."""
    views = {name: _view(graph, value) for name, value in function.__globals__.items()}
    views["__builtins__"] = function.__globals__["__builtins__"]
    code = types.FunctionType(function.__code__, views, function.__name__, function.__defaults__, function.__closure__)
    code.__kwdefaults__ = function.__kwdefaults__
    return code(*arguments, **keywords)
