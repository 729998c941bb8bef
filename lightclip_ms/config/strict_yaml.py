"""YAML as configurations need it: every mistake is a ValueError of one line, numbers mean what they look like.

Differences to `yaml.safe_load`: a key given twice is refused with both lines; 5e-4 is a number, 010 is ten, 1:30 and
2024-01-01 are text; documents that expand to more than `MAX_NODES` values (aliases of aliases) are refused unread.
"""

import re

import yaml

MAX_BYTES = 100_000  # of a document; a configuration with every key has 4,000
MAX_NODES = 4_000
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """Safe YAML with the numbers of YAML 1.2, which gives up on documents that are too large while it reads them."""

    _nodes = _depth = 0

    def compose_node(self, parent, index):
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_NODES:
            raise yaml.YAMLError(f"more than {MAX_NODES:,} values are no configuration")
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} levels are no configuration")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] not in ("int", "float", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9][0-9_]*\Z"), "-+0123456789")
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z"),
    "-+0123456789.",
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(re.sub(r"\.(inf|nan)$", r"\1", node.value.lower()))
)


def parse_yaml(text: str | bytes, source: str):
    """The value of a document, None for an empty one.

    Args:
        source: what the message of an error begins with, for instance the path of the file.

    Raises:
        ValueError: not valid YAML, a key twice, too large, nested too deeply, or an alias within itself.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{source}: {len(text):,} bytes are no configuration (at most {MAX_BYTES:,})")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, source)
        return loader.construct_document(root)
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: not UTF-8: byte {error.object[error.start]:#x} at {error.start}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not valid YAML: {_one_line(error)}") from None
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError) as error:
        if str(error).startswith(source):
            raise
        raise ValueError(
            f"{source}: not valid YAML: {_one_line(error)}"
        ) from None  # tags with a wrong value, "!!int x"


def _check(root: yaml.Node, source: str) -> None:
    """Refuse keys that are given twice, and documents whose aliases expand to too much or contain themselves."""
    sizes: dict[int, int | None] = {}  # of nodes by identity, None while one is open

    def size(node: yaml.Node) -> int:
        key = id(node)
        if key in sizes:
            if sizes[key] is None:
                raise ValueError(f"{source}: line {node.start_mark.line + 1}: an alias within itself")
            return sizes[key]
        sizes[key] = None
        if isinstance(node, yaml.MappingNode):
            _refuse_duplicates(node, source)
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        total = 1
        for child in children:
            total += sum(size(part) for part in child) if isinstance(child, tuple) else size(child)
        if total > MAX_NODES:
            raise ValueError(f"{source}: more than {MAX_NODES:,} values are no configuration")
        sizes[key] = total
        return total

    size(root)


def _refuse_duplicates(node: yaml.MappingNode, source: str) -> None:
    lines = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            if key.value in lines:
                first = lines[key.value]
                raise ValueError(
                    f"{source}: {key.value[:60]!r} is given twice, on lines {first} and {line}; remove one"
                )
            lines[key.value] = line


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
