"""Checks of single values; every error names the key, the value found and what would be right."""

import difflib
import typing


def require(condition: bool, key: str, value, expected: str) -> None:
    if not condition:
        raise ValueError(f"{key}: {value!r} is not possible: {expected}")


def coerce(value, annotation, key: str):
    """`value` as the annotated type; integers pass as floats, YAML lists as tuples, nothing else is converted."""
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        require(
            isinstance(value, (list, tuple)) and len(value) == len(inner),
            key,
            value,
            f"use a list of {len(inner)} numbers",
        )
        return tuple(coerce(item, kind, key) for item, kind in zip(value, inner))
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if annotation is float and isinstance(value, str):
        try:  # YAML reads 5e-4, without a dot, as a string
            return float(value)
        except ValueError:
            pass
    right = isinstance(value, annotation) and not (isinstance(value, bool) and annotation is not bool)
    require(right, key, value, f"use a value of type {annotation.__name__}, not {type(value).__name__}")
    return value


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that does not exist."""
    return f"{key}: unknown configuration key; did you mean {difflib.get_close_matches(key, known, n=1, cutoff=0)[0]}?"
