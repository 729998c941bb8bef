"""What a Cell is compiled into: the operators of its graph, for tests, for the Ascend check and for the cost model."""

from dataclasses import dataclass

from mindspore import nn
from mindspore.common.api import _cell_graph_executor
from mindspore.train import mind_ir_pb2

HOST_OPERATORS = ("PyFunc", "PyExecute", "Print", "HostTensor")
COLLECTIVES = ("AllReduce", "AllGather", "ReduceScatter", "Broadcast", "AllToAll", "Send", "Receive")
_FRONTEND_PHASE = "export.operators"  # MindSpore compiles phases of this prefix up to the graph, not into kernels
_TYPES = {value: name.lower() for name, value in mind_ir_pb2.TensorProto.DataType.items()}
Tensors = tuple[tuple[tuple[int, ...], str], ...]  # shape and dtype of each; -1 where dynamic


@dataclass(frozen=True)
class Operator:
    """One node: primitive name, the Cell it came from, the tensors it makes and the tensors it reads."""

    name: str
    scope: str
    outputs: Tensors
    inputs: Tensors = ()


def compiled_operators(cell: nn.Cell, *inputs) -> list[Operator]:
    """Compile `cell` for `inputs` in its current train or evaluation mode and list the primitives of the graph."""
    cell.compile(*inputs)
    return _operators(_cell_graph_executor._get_func_graph_proto(cell, cell.current_phase, "mind_ir"))


def frontend_operators(cell: nn.Cell, *inputs) -> list[Operator]:
    """`compiled_operators` of the graph that every back end starts from.

    No kernel is looked for and no memory taken, so a graph for another device, or of any batch size, can be listed.
    """
    phase, _ = _cell_graph_executor.compile(cell, *inputs, phase=_FRONTEND_PHASE, do_convert=False)
    return _operators(_cell_graph_executor._get_func_graph_proto(cell, phase, "mind_ir"))


def _operators(serialized: bytes) -> list[Operator]:
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(serialized)
    names = {f"REF::{primitive.name}": primitive.op_type for primitive in model.primitives}
    operators = []
    for graph in (model.graph, *model.functions):
        known = {parameter.name: _tensors([parameter]) for parameter in graph.parameter}
        known |= {value.name: _tensors(value.tensor) for value in graph.input}
        for node in graph.node:
            known[node.name] = outputs = _outputs(node)
            if node.op_type in names:
                inputs = tuple(tensor for name in node.input for tensor in known.get(name, ()))
                operators.append(Operator(names[node.op_type], node.domain, outputs, inputs))
    return operators


def _outputs(node) -> Tensors:
    """Of an operator its declared outputs, of a constant its value if that is a tensor."""
    tensors = []
    for attribute in node.attribute:
        if attribute.name in ("shape", "value"):
            tensors += attribute.tensors
            tensors += [tensor for value in attribute.values for tensor in value.tensors]
    return _tensors(tensors)


def _tensors(tensors) -> Tensors:
    return tuple((tuple(tensor.dims), _TYPES[tensor.data_type]) for tensor in tensors)
