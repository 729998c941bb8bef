"""Checks of single values; every error names the key, the value found and what would be right."""

import difflib
import math
import typing


def shown(value) -> str:
    """A value in an error message: one short line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def require(condition: bool, key: str, value, expected: str) -> None:
    if not condition:
        raise ValueError(f"{key}: {shown(value)} is not possible: {expected}")


def require_between(config, section: str, limits: dict[str, tuple[float, float]]) -> None:
    """Each named attribute of `config` must lie between its two limits, both included."""
    for key, (low, high) in limits.items():
        value = getattr(config, key)
        low_enough = f"use at most {high:,}" if value > high else f"use at least {low:,}"
        require(low <= value <= high, f"{section}.{key}", value, low_enough)


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
    if annotation is tuple and isinstance(value, list):
        return tuple(value)
    if annotation is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 5e-4, without a dot, as a string
            value = float(value)
        except (ValueError, OverflowError):
            pass
    right = isinstance(value, annotation) and not (isinstance(value, bool) and annotation is not bool)
    require(right, key, value, f"use a value of type {annotation.__name__}, not {type(value).__name__}")
    require(not isinstance(value, float) or math.isfinite(value), key, value, "use a finite number")
    return value


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that does not exist."""
    near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0)[0]
    return f"{key[:100]}: unknown configuration key; did you mean {near}?"
