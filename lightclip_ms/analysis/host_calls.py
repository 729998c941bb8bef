"""How the matcher's two calls of the host cut the graph of a step, and what the device does between them."""

from dataclasses import dataclass

from lightclip_ms.analysis.graph import HOST_OPERATORS, Operator

_MATCHER = "lightclip_ms/losses/matching.py"  # the only code that may call the host
_MATCHING_TERM = "token-TokenTerm/"
_TICKET = ((1,), "int32")


@dataclass(frozen=True)
class HostCalls:
    """Calls of the host in a graph.

    Attributes:
        starts, fetches: of the matcher, see `losses.matching`.
        others: all other ones.
    """

    starts: list[Operator]
    fetches: list[Operator]
    others: list[Operator]


def find_host_calls(operators: list[Operator]) -> HostCalls:
    """The calls of the host in a graph; a call of the matcher that is neither start nor fetch is one of the others."""
    calls = HostCalls([], [], [])
    for operator in operators:
        if operator.name not in HOST_OPERATORS:
            continue
        kind = calls.others
        if operator.name == "PyFunc" and _is_matcher(operator):
            if operator.outputs == (_TICKET,):
                kind = calls.starts
            elif operator.inputs[:1] == (_TICKET,):
                kind = calls.fetches
        kind.append(operator)
    return calls


def operators_between(operators: list[Operator], start: Operator, fetch: Operator) -> list[Operator]:
    """What MindSpore's `ms_backend` launches on the device after `start` and before `fetch`.

    It cuts a graph where the target changes, walking from its end: what `start` needs comes before it, what else
    `fetch` needs before that, and all the rest behind (`SplitSort` in graph_partition.cc).
    """
    by_node = {operator.node: operator for operator in operators}
    before = _needed_by(start, by_node)
    needed = _needed_by(fetch, by_node)
    return [op for op in operators if op.node in needed and op.node not in before and op.name not in HOST_OPERATORS]


def _needed_by(operator: Operator, by_node: dict[str, Operator]) -> set[str]:
    """Names of the nodes that must have run before an operator can."""
    needed, waiting = set(), list(operator.sources)
    while waiting:
        node = waiting.pop()
        if node not in needed and node in by_node:
            needed.add(node)
            waiting += by_node[node].sources
    return needed


def _is_matcher(operator: Operator) -> bool:
    # Under msrun, graphs come without lines of code: then the term that the call belongs to tells.
    return operator.line.startswith(_MATCHER) or (not operator.line and _MATCHING_TERM in operator.scope)
