"""The rules a training graph must keep to run well on Ascend, and what breaks them."""

import collections
import math
from dataclasses import dataclass

from lightclip_ms.analysis.ascend_kernels import Declarations
from lightclip_ms.analysis.graph import HOST_OPERATORS, Operator

# The cores have no arithmetic for these: such an operator goes to the few scalar processors of the card (AICPU).
_SLOW_TYPES = ("double", "complex64", "complex128")
_BYTES = {"bool": 1, "int8": 1, "uint8": 1, "float16": 2, "bfloat16": 2, "int16": 2, "double": 8, "int64": 8}


@dataclass(frozen=True)
class Report:
    """What a graph holds.

    Attributes:
        primitives: (name, how often, dtypes, declared where or "") of each primitive.
        transfers: what crosses between device and host while the graph runs.
        violations: one line for each broken rule.
    """

    primitives: list[tuple[str, int, str, str]]
    transfers: list[str]
    violations: list[str]


def check(operators: list[Operator], declarations: Declarations, matchers: int = 1) -> Report:
    """Hold a graph against the rules.

    Args:
        operators: the graph.
        matchers: how many `PyFunc` it may have: 1, or 0 for a configuration without token alignment.
    """
    groups = collections.defaultdict(list)
    for operator in operators:
        groups[operator.name].append(operator)
    primitives, violations = [], []
    for name, group in sorted(groups.items()):
        evidence = "host, on purpose" if name == "PyFunc" else declarations.evidence(name)
        kinds = sorted({kind for operator in group for _, kind in operator.outputs})
        primitives.append((name, len(group), " ".join(kinds), evidence))
        if not evidence:
            violations.append(
                f"{name}: nothing declares an Ascend kernel, MindSpore would run it on the host "
                f"({len(group)} times, for example in {_place(group[0])})"
            )
    for name in HOST_OPERATORS:
        allowed = matchers if name == "PyFunc" else 0
        if len(groups.get(name, ())) != allowed:
            places = ", ".join(_place(operator) for operator in groups.get(name, ())[:3])
            violations.append(
                f"{name}: {len(groups.get(name, ()))} in the graph, {allowed} expected"
                + (f" ({places})" if places else "")
            )
    violations += _tensor_violations(operators)
    return Report(primitives, _transfers(groups), violations)


def _tensor_violations(operators: list[Operator]) -> list[str]:
    """Dynamic shapes, and numbers that the cores cannot compute with.

    An int64 of no dimension is one number that the host knows when it launches the kernel, an axis or a size; an int64
    with dimensions is data. Of several outputs only those that another operator reads count: a maximum comes with
    its position, wanted or not.
    """
    found = {}
    for operator in operators:
        made = operator.outputs if len(operator.outputs) == 1 else ()
        read = operator.inputs if operator.name != "TupleGetItem" else ()
        for shape, kind in made + read:
            if min(shape, default=0) < 0:
                found.setdefault((operator.name, f"dynamic shape {list(shape)}"), operator)
            if kind in _SLOW_TYPES or (kind == "int64" and shape):
                found.setdefault((operator.name, f"{kind} {list(shape)} would be computed outside the cores"), operator)
    return [f"{name}: {problem} (in {_place(operator)})" for (name, problem), operator in found.items()]


def _transfers(groups: dict[str, list[Operator]]) -> list[str]:
    lines = [
        f"PyFunc in {_place(operator)}: {_volume(operator.inputs)} to the host, {_volume(operator.outputs)} back"
        for operator in groups.get("PyFunc", ())
    ]
    if "Switch" in groups:
        lines.append(f"Switch: {len(groups['Switch'])} condition(s), one byte each, that the host waits for")
    return lines


def _volume(tensors) -> str:
    total = sum(_BYTES.get(kind, 4) * math.prod(shape) for shape, kind in tensors)
    return f"{total:,} bytes ({', '.join(f'{kind} {list(shape)}' for shape, kind in tensors)})"


def _place(operator: Operator) -> str:
    return operator.scope.removeprefix("Default/") or "the step"
