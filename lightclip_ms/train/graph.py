"""What a Cell was compiled into: the operators of its graph, for tests and for the Ascend check."""
from dataclasses import dataclass

from mindspore import nn
from mindspore.common.api import _cell_graph_executor
from mindspore.train import mind_ir_pb2

HOST_OPERATORS = ("PyFunc", "PyExecute", "Print", "HostTensor")
COLLECTIVES = ("AllReduce", "AllGather", "ReduceScatter", "Broadcast", "AllToAll", "Send", "Receive")
_TYPES = {value: name.lower() for name, value in mind_ir_pb2.TensorProto.DataType.items()}


@dataclass(frozen=True)
class Operator:
    """One node: primitive name, the Cell it came from, and shape and dtype of each output (-1 where dynamic)."""
    name: str
    scope: str
    outputs: tuple[tuple[tuple[int, ...], str], ...]


def compiled_operators(cell: nn.Cell, *inputs) -> list[Operator]:
    """Compile `cell` for `inputs` in its current train or evaluation mode and list the primitives of the graph."""
    cell.compile(*inputs)
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(_cell_graph_executor._get_func_graph_proto(cell, cell.current_phase, "mind_ir"))
    names = {f"REF::{primitive.name}": primitive.op_type for primitive in model.primitives}
    graphs = [model.graph, *model.functions]
    return [Operator(names.get(node.op_type, node.op_type), node.domain, _outputs(node))
            for graph in graphs for node in graph.node if node.op_type in names]


def _outputs(node) -> tuple:
    tensors = []
    for attribute in node.attribute:
        if attribute.name == "shape":
            tensors += attribute.tensors
            tensors += [tensor for value in attribute.values for tensor in value.tensors]
    return tuple((tuple(tensor.dims), _TYPES[tensor.data_type]) for tensor in tensors)
