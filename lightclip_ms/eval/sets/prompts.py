"""Class names and prompt templates: the package's own by name, or the user's files."""

import functools
import os
from importlib import resources

import yaml

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
    if not os.path.exists(source):
        if source in built_in() and key in built_in()[source]:
            return [str(entry) for entry in built_in()[source][key]]
        known = ", ".join(name for name, content in built_in().items() if key in content)
        raise FileNotFoundError(f"{source}: no such file, and none of the built-in {key}: {known}")
    with open(source, encoding="utf-8-sig") as file:
        text = file.read()
    if source.endswith((".yaml", ".yml")):
        entries = _from_yaml(source, text, key)
    else:
        entries = [line.strip() for line in text.splitlines() if line.strip()]
    if not entries:
        raise ValueError(f"{source}: empty; expected {key}, one a line")
    return entries


def _from_yaml(source: str, text: str, key: str) -> list[str]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not valid YAML: {error}") from None
    entries = content.get(key) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ValueError(f"{source}: expected a list, or a mapping with the list {key!r}")
    return [str(entry) for entry in entries]
