"""The rules a training graph must keep to run well on Ascend, and what breaks them."""

import collections
import math
from dataclasses import dataclass

from lightclip_ms.analysis.ascend_kernels import AICPU, EAGER, FAST, STRUCTURAL, Declarations
from lightclip_ms.analysis.cost_model import matrix_flops
from lightclip_ms.analysis.graph import HOST_OPERATORS, Operator
from lightclip_ms.analysis.host_calls import HostCalls, find_host_calls, operators_between

# The cores have no arithmetic for these: such an operator goes to the few scalar processors of the card (AICPU).
_SLOW_TYPES = ("double", "complex64", "complex128")
_BYTES = {"bool": 1, "int8": 1, "uint8": 1, "float16": 2, "bfloat16": 2, "int16": 2, "double": 8, "int64": 8}
_PROBLEMS = {
    AICPU: "runs on the card's scalar processors",
    EAGER: "has an Ascend kernel for eager mode only; in a graph MindSpore would run it on the host",
}
_UNKNOWN = "nothing declares an Ascend kernel; MindSpore would run it on the host"


@dataclass(frozen=True)
class Report:
    """What a graph holds.

    Attributes:
        primitives: (name, how often, dtypes, kernel and where it is declared) of each primitive.
        launched: operators of a step that need a kernel.
        transfers: what crosses between device and host while the graph runs.
        violations: one line for each broken rule, with the line of code.
    """

    primitives: list[tuple[str, int, str, str]]
    launched: int
    transfers: list[str]
    violations: list[str]


def check(operators: list[Operator], declarations: Declarations, matchers: int = 1) -> Report:
    """Hold a graph against the rules.

    Args:
        operators: the graph.
        matchers: how many matchings it must start and fetch: 1, or 0 for a configuration without token alignment.
    """
    groups = collections.defaultdict(list)
    for operator in operators:
        groups[operator.name].append(operator)
    primitives, violations, launched = [], [], 0
    for name, group in sorted(groups.items()):
        evidence = declarations.evidence(name)
        kinds = sorted({kind for operator in group for _, kind in operator.outputs})
        is_host = name in HOST_OPERATORS
        primitives.append((name, len(group), " ".join(kinds), "host" if is_host else str(evidence)))
        if evidence.kind not in ("no kernel needed", "view"):
            launched += len(group)
        if not is_host and evidence.kind not in FAST:
            problem = _PROBLEMS.get(evidence.kind, _UNKNOWN)
            violations.append(f"{name}: {problem} ({_places(group)})")
    calls = find_host_calls(operators)
    violations += _host_violations(operators, calls, matchers) + _tensor_violations(operators)
    return Report(primitives, launched, _transfers(groups, operators, calls), violations)


def _host_violations(operators: list[Operator], calls: HostCalls, matchers: int) -> list[str]:
    violations = [
        f"{operator.name}: a call of the host that is not the matcher's ({_place(operator)})"
        for operator in calls.others
    ]
    for what, found in (("starts", calls.starts), ("fetches", calls.fetches)):
        if len(found) != matchers:
            violations.append(f"PyFunc: the matcher {what} {len(found)} times, {matchers} expected")
    for start, fetch in zip(calls.starts, calls.fetches):
        if not any(operator.name not in STRUCTURAL for operator in operators_between(operators, start, fetch)):
            violations.append(f"PyFunc: the device has no work between start and fetch ({_place(fetch)})")
    return violations


def _tensor_violations(operators: list[Operator]) -> list[str]:
    """Dynamic shapes, and numbers that the cores cannot compute with, each where it begins.

    An int64 of no dimension is one number that the host knows when it launches the kernel, an axis or a size; an int64
    with dimensions is data. Of several outputs only those that another operator reads count: a maximum comes with
    its position, wanted or not.
    """
    violations = []
    for problem, is_bad in (
        ("dynamic shape", lambda shape, kind: min(shape, default=0) < 0),
        ("computed outside the cores", lambda shape, kind: kind in _SLOW_TYPES or (kind == "int64" and bool(shape))),
    ):
        involved, beginnings = 0, {}
        for operator in operators:
            made = [tensor for tensor in operator.outputs if is_bad(*tensor)] if len(operator.outputs) == 1 else []
            read = [tensor for tensor in operator.inputs if is_bad(*tensor)] if operator.name != "TupleGetItem" else []
            involved += bool(made or read)
            if made and not read:
                beginnings.setdefault((operator.name, operator.line), (operator, made[0]))
        if involved and not beginnings:  # of several outputs, or an input of the graph: the first that reads it
            beginnings = {
                "": next(
                    (operator, tensor)
                    for operator in operators
                    for tensor in operator.inputs
                    if operator.name != "TupleGetItem" and is_bad(*tensor)
                )
            }
        for operator, (shape, kind) in beginnings.values():
            violations.append(
                f"{operator.name}: {kind} {list(shape)}, {problem}, {involved} operators in all ({_place(operator)})"
            )
    return violations


def _transfers(groups: dict[str, list[Operator]], operators: list[Operator], calls: HostCalls) -> list[str]:
    lines = [
        f"PyFunc in {_place(operator)}: {volume(operator.inputs)} to the host, {volume(operator.outputs)} back"
        for operator in groups.get("PyFunc", ())
    ]
    for start, fetch in zip(calls.starts, calls.fetches):
        between = operators_between(operators, start, fetch)
        count = sum(operator.name not in STRUCTURAL for operator in between)
        share = matrix_flops(between) / max(1, matrix_flops(operators))
        lines.append(f"between start and fetch of the matcher: {count} operators, {share:.1%} of the matrix FLOPs")
    if "Switch" in groups:
        lines.append(f"Switch: {len(groups['Switch'])} condition(s), one byte each, that the host waits for")
    return lines


def volume(tensors) -> str:
    """Bytes of (shape, dtype) pairs, and the pairs."""
    total = sum(_BYTES.get(kind, 4) * math.prod(shape) for shape, kind in tensors)
    return f"{total:,} bytes ({', '.join(f'{kind} {list(shape)}' for shape, kind in tensors)})"


def _places(group: list[Operator]) -> str:
    """The lines of code of a group, at most three of them."""
    places = list(dict.fromkeys(_place(operator) for operator in group))
    more = f" and {len(places) - 3} more places" if len(places) > 3 else ""
    return f"{len(group)} times, in {', '.join(places[:3])}{more}"


def _place(operator: Operator) -> str:
    return operator.line or operator.scope.removeprefix("Default/") or "the step"
