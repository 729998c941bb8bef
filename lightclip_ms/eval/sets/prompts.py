"""Class names and prompt templates: the package's own by name, or the user's files."""

import functools
import os
from importlib import resources
from pathlib import Path

import yaml

from lightclip_ms.data.pair import says_nothing

_BUILT_IN = resources.files(__package__) / "class_names"


@functools.cache
def built_in() -> dict[str, dict]:
    """The package's data sets by key: {"name", "metric", "classes", "templates"}."""
    files = sorted(file for file in _BUILT_IN.iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


def load_class_names(source: str) -> list[str]:
    """Class names of a built-in data set (`cifar10`), a YAML file with `classes`, or a text file with one a line."""
    return _load(source, "classes")


def load_templates(source: str) -> list[str]:
    """Prompt templates, each with `{}`, of a built-in set, a YAML file with `templates`, or a text file."""
    templates = _load(source, "templates")
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"{source}: template {template!r} has no {{}} where the class name goes")
    return templates


def _load(source: str, key: str) -> list[str]:
    if not os.path.isfile(source):
        if source in built_in() and key in built_in()[source]:
            return [str(entry) for entry in built_in()[source][key]]
        known = ", ".join(name for name, content in built_in().items() if key in content)
        raise FileNotFoundError(f"{source}: no such file, and none of the built-in {key}: {known}")
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: not UTF-8 ({error.reason} at byte {error.start}); convert it") from None
    if source.endswith((".yaml", ".yml")):
        entries = _from_yaml(source, text, key)
    else:
        entries = [line.strip() for line in text.splitlines() if line.strip()]
    if not entries:
        raise ValueError(f"{source}: empty; expected {key}, one a line")
    nothing = next((number for number, entry in enumerate(entries, 1) if says_nothing(entry)), None)
    if nothing:
        raise ValueError(f"{source}: entry {nothing} of {key} is no text: {entries[nothing - 1]!r}")
    return entries


def _from_yaml(source: str, text: str, key: str) -> list[str]:
    """Entries as they are written: `no`, `1e3` and `010` are names, not a truth value and numbers."""
    try:
        content = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{source}: not valid YAML: {error}") from None
    if isinstance(content, yaml.MappingNode):
        content = next((value for name, value in content.value if name.value == key), None)
    if not isinstance(content, yaml.SequenceNode) or not all(isinstance(e, yaml.ScalarNode) for e in content.value):
        raise ValueError(f"{source}: expected a list of texts, or a mapping with the list {key!r}")
    return [entry.value for entry in content.value]
