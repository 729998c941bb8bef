"""The versions this package works with, checked before MindSpore is first used."""

import re
import sys

# As in requirements.txt, which is not there once the package is installed; a test compares the two.
SUPPORTED = {"numpy": ((1, 25), (2,)), "mindspore": ((2, 10), (2, 11))}


class UnsupportedEnvironment(ImportError):
    """A package of another version than supported, or none; the message has the command that mends it."""


def check_requirements() -> None:
    """Refuse versions that import well and fail later.

    With numpy 2, MindSpore's first eager operator raises a bare SystemError.

    Raises:
        UnsupportedEnvironment: one line that names the package, its version and the command that mends it.
    """
    for name, (first, beyond) in SUPPORTED.items():
        version = _version(name)
        bounds = f"{name}>={_text(first)},<{_text(beyond)}"
        if version is None or not first <= _numbers(version) < beyond:
            found = f"{name} {version} is not supported" if version else f"{name} is not installed"
            raise UnsupportedEnvironment(f'{found}; run: {sys.executable} -m pip install "{bounds}"')


def _version(name: str) -> str | None:
    """The version of a package: of the one that is loaded, else of the one that would be."""
    from importlib import metadata  # slow to load, and the package imports this file

    loaded = getattr(sys.modules.get(name), "__version__", None)
    try:
        return loaded or metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return (
        tuple(int(part) for part in re.match(r"\d+(?:\.\d+)*", version).group().split("."))
        if version[:1].isdigit()
        else ()
    )


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
