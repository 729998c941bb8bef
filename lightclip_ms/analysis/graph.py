"""What a Cell is compiled into: the operators of its graph, for tests, for the Ascend check and for the cost model."""

import contextlib
import dataclasses
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mindspore
from mindspore import nn
from mindspore.common.api import _cell_graph_executor
from mindspore.train import mind_ir_pb2

HOST_OPERATORS = ("PyFunc", "PyExecute", "Print", "HostTensor")
COLLECTIVES = ("AllReduce", "AllGather", "ReduceScatter", "Broadcast", "AllToAll", "Send", "Receive")
_FRONTEND_PHASE = "export.operators"  # MindSpore compiles phases of this prefix up to the graph, not into kernels
_TYPES = {value: name.lower() for name, value in mind_ir_pb2.TensorProto.DataType.items()}
_MINDSPORE = Path(mindspore.__file__).parent
_TOP_FOLDERS = ("lightclip_ms", "tests", "benchmarks")  # paths are given from these on
_FULL_NAME = re.compile(r"# Fullname with scope: \((.*)\)")
_IN_FILE = re.compile(r"# In file (.+?):(\d+)(?:~\d+)?[,/]")
Tensors = tuple[tuple[tuple[int, ...], str], ...]  # shape and dtype of each; -1 where dynamic


@dataclass(frozen=True)
class Operator:
    """One node: primitive name, the Cell it came from, the tensors it makes and the tensors it reads.

    `line` is the line of code behind it, `folder/file.py:12`, the innermost one outside MindSpore; "" if not asked for.
    `node` names it in its graph, `sources` the nodes that must have run before it.
    """

    name: str
    scope: str
    outputs: Tensors
    inputs: Tensors = ()
    line: str = ""
    node: str = ""
    sources: tuple[str, ...] = ()


def compiled_operators(cell: nn.Cell, *inputs) -> list[Operator]:
    """Compile `cell` for `inputs` in its current train or evaluation mode and list the primitives of the graph."""
    cell.compile(*inputs)
    return _operators(_cell_graph_executor._get_func_graph_proto(cell, cell.current_phase, "mind_ir"))


def frontend_operators(cell: nn.Cell, *inputs) -> list[Operator]:
    """`compiled_operators` of the graph that every back end starts from, with lines of code.

    No kernel is looked for and no memory taken, so a graph for another device, or of any batch size, can be listed.
    """
    with _dumped_graphs() as folder:
        phase, _ = _cell_graph_executor.compile(cell, *inputs, phase=_FRONTEND_PHASE, do_convert=False)
        lines = _lines_of_code(folder)
    operators = _operators(_cell_graph_executor._get_func_graph_proto(cell, phase, "mind_ir"))
    return [dataclasses.replace(operator, line=lines.get(operator.scope, "")) for operator in operators]


@contextlib.contextmanager
def _dumped_graphs():
    """Inside, MindSpore writes the last graph of the frontend into the folder given, with the code behind each node."""
    os.environ.setdefault("MS_DEV_DUMP_IR_PASSES", "validate")  # read once in a process; says nothing by itself
    with tempfile.TemporaryDirectory() as folder:
        # Not MS_DEV_SAVE_GRAPHS: it could not be taken back, and later graphs would be written where the user stands.
        mindspore.set_context(save_graphs=1, save_graphs_path=folder)
        try:
            yield Path(folder)
        finally:
            mindspore.set_context(save_graphs=0)


def _lines_of_code(folder: Path) -> dict[str, str]:
    """Full name of a node -> `folder/file.py:12`, from the graphs written to `folder`."""
    lines, name = {}, ""
    for path in folder.rglob("*validate*.ir"):
        for text in path.read_text(errors="replace").splitlines():
            if found := _FULL_NAME.search(text):
                name = found[1]
            elif (found := _IN_FILE.search(text)) and not found[1].startswith(str(_MINDSPORE)):
                # The call chain is listed from the outside in, so the last line that is not MindSpore's own remains.
                lines[name] = f"{_short(found[1])}:{found[2]}"
    return lines


def _short(path: str) -> str:
    parts = Path(path).parts
    start = next((place for place, part in enumerate(parts) if part in _TOP_FOLDERS), len(parts) - 1)
    return "/".join(parts[start:])


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
                operators.append(
                    Operator(names[node.op_type], node.domain, outputs, inputs, "", node.name, tuple(node.input))
                )
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
