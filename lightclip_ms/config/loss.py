"""The `loss` section: a registry of the objective's terms with their weights and keys, and the values of one run.

Terms register themselves (`train/terms/__init__.py`); this file knows none of them. So a new term needs no change
here, and a configuration is checked without loading MindSpore.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lightclip_ms.config.checks import coerce, require, unknown_key


@dataclass(frozen=True)
class Key:
    """One configuration key of a term: its default, which also gives its type, and what a value must be."""

    default: object
    allows: Callable[[object], bool]
    expected: str  # ends the error message: "loss.delta: 1.5 is not possible: use 0 to 1"


@dataclass(frozen=True)
class Declaration:
    """What a term needs of the configuration; its weight is the key `<name>_weight`."""

    keys: dict[str, Key]
    check: Callable[[object], None]  # rules between keys, given the whole `LossConfig`; raises ValueError
    trains_embeddings: bool


_DECLARED: dict[str, Declaration] = {}


def share(default: float) -> Key:
    """A number of 0 to 1."""
    return Key(default, lambda value: 0 <= value <= 1, "use 0 to 1")


def positive(default: float, expected: str = "use a positive number") -> Key:
    """A number above 0."""
    return Key(default, lambda value: value > 0, expected)


def count(default: int) -> Key:
    """A whole number of at least 1, below 10 million: a size of arrays."""
    return Key(default, lambda value: 1 <= value < 10**7, "use 1 to 9,999,999")


def one_of(*choices: str) -> Key:
    """One of a few words, the first of which is the default."""
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Key(choices[0], lambda value: value in choices, f"use {listed}")


def declare(name: str, weight: float, trains_embeddings: bool = False, check=lambda loss: None, **keys: Key) -> None:
    """Register a term.

    Args:
        name: of the term, of its file in `train/terms/` and in the log.
        weight: default of the key `<name>_weight`; 0 leaves the term out of the graph.
        trains_embeddings: the term compares image and text features; a run needs at least one such term.
        check: rules between keys.
        keys: the term's own keys, unique over all terms.

    Raises:
        ValueError: a key that another term declared.
    """
    taken = set(all_keys()) & {f"{name}_weight", *keys}
    if taken:
        raise ValueError(f"loss term {name}: the keys {sorted(taken)} are declared already")
    _DECLARED[name] = Declaration({f"{name}_weight": share(weight), **keys}, check, trains_embeddings)


def all_keys() -> dict[str, Key]:
    """Every key of the `loss` section, term by term in the order of their registration."""
    return {name: key for declaration in _DECLARED.values() for name, key in declaration.keys.items()}


def active(loss) -> list[str]:
    """Names of the terms with a weight above 0, in the order of their registration."""
    return [name for name in _DECLARED if getattr(loss, f"{name}_weight") > 0]


def _check_rules(loss) -> None:
    """Rules between keys. Raises ValueError that names the key, its value and what would be right."""
    for declaration in _DECLARED.values():
        declaration.check(loss)
    embedding = [name for name, declaration in _DECLARED.items() if declaration.trains_embeddings]
    if embedding and not set(embedding) & set(active(loss)):
        weights = " or ".join(f"loss.{name}_weight" for name in embedding)
        raise ValueError(f"{weights} must be above 0: without it there are no embeddings to train")


class LossConfig:
    """Weights of Eq. 1 and the parameters of its terms; a weight of 0 leaves a term out of the graph.

    The keys are those that the terms declare with `declare`, here as attributes; configs/base.yaml lists them.

    Raises:
        ValueError: an unknown key, or a value outside its bounds.
    """

    def __init__(self, **values):
        keys = all_keys()
        for name in values:
            if name not in keys:
                raise ValueError(unknown_key(f"loss.{name}", [f"loss.{key}" for key in keys]))
        for name, key in keys.items():
            value = coerce(values.get(name, key.default), type(key.default), f"loss.{name}")
            require(key.allows(value), f"loss.{name}", value, key.expected)
            self.__dict__[name] = value
        _check_rules(self)

    def __setattr__(self, name, value):
        raise AttributeError(f"a configuration is not changed in place: LossConfig(**{{**vars(loss), {name!r}: ...}})")

    def __eq__(self, other):
        return isinstance(other, LossConfig) and vars(self) == vars(other)

    def __hash__(self):
        return hash(tuple(vars(self).items()))

    def __repr__(self):
        return f"LossConfig({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
