"""Configurations from YAML files with one level of `base:`, `key=value` overrides and dictionaries."""

import dataclasses
import difflib
import os
import typing

import yaml

from lightclip_ms.config.presets import preset
from lightclip_ms.config.schema import Config, ModelConfig, require


def _coerce(value, annotation, key: str):
    """`value` as the annotated type; integers pass as floats, YAML lists as tuples, nothing else is converted."""
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        require(
            isinstance(value, (list, tuple)) and len(value) == len(inner),
            key,
            value,
            f"use a list of {len(inner)} numbers",
        )
        return tuple(_coerce(item, kind, key) for item, kind in zip(value, inner))
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


def _all_keys(cls, prefix: str = "") -> list[str]:
    keys = []
    for item in dataclasses.fields(cls):
        keys += (
            _all_keys(item.type, f"{prefix}{item.name}.")
            if dataclasses.is_dataclass(item.type)
            else [prefix + item.name]
        )
    return keys


def _build(cls, values: dict, prefix: str = ""):
    """A `cls` from nested dictionaries; unknown keys are refused with the nearest valid name."""
    require(isinstance(values, dict), prefix.rstrip(".") or "config", values, "use a mapping of keys to values")
    known = {item.name: item for item in dataclasses.fields(cls)}
    built = {}
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(f"{prefix}{name}", _all_keys(Config), n=1, cutoff=0)
            raise ValueError(f"{prefix}{name}: unknown configuration key; did you mean {near[0]}?")
        kind = known[name].type
        built[name] = (
            _build(kind, value, f"{prefix}{name}.")
            if dataclasses.is_dataclass(kind)
            else _coerce(value, kind, prefix + name)
        )
    return cls(**built)


def _merge(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _read_yaml(path: str) -> dict:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such configuration file")
    with open(path, encoding="utf-8") as file:
        try:
            values = yaml.safe_load(file) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a configuration is a mapping of keys to values, found {type(values).__name__}")
    return values


def _parse_override(text: str) -> dict:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"{text!r}: an override is written key=value, for example train.batch_size=64")
    parsed = yaml.safe_load(value) if value else ""
    for name in reversed(key.split(".")):
        parsed = {name: parsed}
    return parsed


def from_dict(values: dict) -> Config:
    """Validated `Config`; the preset named by `model.name` fills the model keys that are not given."""
    model = values.get("model")
    if isinstance(model, dict):
        values = {**values, "model": _merge(dataclasses.asdict(preset(model.get("name", ModelConfig.name))), model)}
    return _build(Config, values)


def load_config(path: str, overrides: typing.Sequence[str] = ()) -> Config:
    """Read a YAML file, the file its `base:` key names (relative to it), and `key=value` overrides, in rising order.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a key or value is wrong; the message says what is right.
    """
    values = _read_yaml(path)
    base = values.pop("base", None)
    if base is not None:
        values = _merge(_read_yaml(os.path.join(os.path.dirname(path), base)), values)
    for text in overrides:
        values = _merge(values, _parse_override(text))
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def to_dict(config) -> dict:
    """Plain nested dictionary of a configuration, ready for JSON or YAML; `from_dict` reads it back."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(dataclasses.asdict(config))
