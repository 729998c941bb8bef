"""Configurations from YAML files and the `base:` they name, `key=value` overrides and dictionaries."""

import dataclasses
import difflib
import os
import typing
from pathlib import Path

from lightclip_ms.config.checks import coerce, require, shown, unknown_key
from lightclip_ms.config.loss import LossConfig, all_keys
from lightclip_ms.config.methods import loss_of_method
from lightclip_ms.config.presets import check_name, starting_point
from lightclip_ms.config.schema import Config
from lightclip_ms.config.strict_yaml import MAX_BYTES, parse_yaml

SHIPPED = Path(__file__).parent / "shipped"  # in a checkout a link to configs/, so that there is one copy


def _all_keys(cls, prefix: str = "") -> list[str]:
    if cls is LossConfig:
        return [prefix + name for name in all_keys()]
    if not dataclasses.is_dataclass(cls):
        return [prefix.rstrip(".")]
    return [key for item in dataclasses.fields(cls) for key in _all_keys(item.type, f"{prefix}{item.name}.")]


def _build(cls, values: dict, prefix: str = ""):
    """A section from nested dictionaries; unknown keys are refused with the nearest valid name."""
    require(isinstance(values, dict), prefix.rstrip(".") or "config", values, "use a mapping of keys to values")
    if cls is LossConfig:  # its keys are those of the registered terms, which it checks itself
        return LossConfig(**{str(name): value for name, value in values.items()})
    known = {item.name: item.type for item in dataclasses.fields(cls)}
    built = {}
    for name, value in values.items():
        if not isinstance(name, str) or name not in known:
            raise ValueError(unknown_key(f"{prefix}{name}", _all_keys(Config)))
        kind = known[name]
        is_section = dataclasses.is_dataclass(kind) or kind is LossConfig
        built[name] = _build(kind, value, f"{prefix}{name}.") if is_section else coerce(value, kind, prefix + name)
    return cls(**built)


def _merge(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def shipped_names() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find_config(name: str, folder: str = "") -> str:
    """Path of a configuration: the file `name`, relative to `folder`, else the shipped one of that name.

    Raises:
        FileNotFoundError: neither exists; the message offers the nearest shipped names.
    """
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        return path
    stem = os.path.basename(name).removesuffix(".yaml")
    if stem in shipped_names() and os.path.basename(name) == name:
        return str(SHIPPED / f"{stem}.yaml")
    nearest = difflib.get_close_matches(stem, shipped_names(), n=3, cutoff=0)
    raise FileNotFoundError(
        f"{path}: no such configuration file; did you mean {', '.join(nearest)}, which come with the package?"
    )


def _read_yaml(path: str) -> dict:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OSError(f"{path}: could not be read: {error.strerror or error}") from None
    values = parse_yaml(text, path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a configuration is a mapping of keys to values, found {type(values).__name__}")
    return values


def _read_layers(path: str, above: tuple[str, ...] = ()) -> list[dict]:
    """The values of a file behind those of its base, and of the base's; `above` are the files that led here."""
    if os.path.realpath(path) in above:
        raise ValueError(f"{path}: is its own base: {' -> '.join((*above, path))}")
    values = _read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return [values]
    if not isinstance(base, str):
        raise ValueError(f"{path}: base: {shown(base)} is not possible: use the name of a file or of a configuration")
    below = find_config(base, os.path.dirname(path))
    return [*_read_layers(below, (*above, os.path.realpath(path))), values]


def _stack(layers: list[dict]) -> dict:
    """Later layers win; the `method` of a layer sets the loss section of those before it."""
    stacked = {}
    for layer in layers:
        if "method" in layer:
            stacked = _merge(stacked, {"loss": loss_of_method(layer["method"])})
        stacked = _merge(stacked, layer)
    return stacked


def _kind(key: str):
    """The type of a configuration key with dots; None if there is no such key."""
    kind = Config
    for name in key.split("."):
        if kind is LossConfig:
            declared = all_keys().get(name)
            kind = None if declared is None else type(declared.default)
        elif dataclasses.is_dataclass(kind):
            kind = {item.name: item.type for item in dataclasses.fields(kind)}.get(name)
        elif kind is not dict:  # what is below a dictionary has any type
            return None
    return kind


def _parse_override(text: str) -> dict:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"{shown(text)}: an override is written key=value, for example train.batch_size=64")
    if key.count(".") > 8:
        raise ValueError(unknown_key(key, _all_keys(Config)))
    # A text is taken as it was typed: separators, patterns and names of files are full of YAML's special characters.
    parsed = value if _kind(key) in (str, None) else parse_yaml(value, key)
    for name in reversed(key.split(".")):
        parsed = {name: parsed}
    return parsed


def from_dict(values: dict) -> Config:
    """Validated `Config` of nested dictionaries; the preset of `model.name` fills the model keys that are not given."""
    model = values.get("model", {})
    if isinstance(model, dict):
        base = starting_point(model)
        # Options belong to an encoder: those of the preset are no default for another one.
        same_encoder = model.get("image_encoder", base.image_encoder) == base.image_encoder
        filled = dataclasses.asdict(base if same_encoder else dataclasses.replace(base, image_options={}))
        values = {**values, "model": _merge(filled, model)}
    return _build(Config, values)


def load_config(name: str, overrides: typing.Sequence[str] = ()) -> Config:
    """Read a configuration, the one that its `base:` key names, and `key=value` overrides, in rising order.

    The `method` of any of them sets the loss section (`config/methods.py`); what is given beside it or later wins.

    Args:
        name: a YAML file, or the name of a shipped configuration such as "resnet18". A `base:` is the same, relative to
            the file that names it.
        overrides: texts such as "train.batch_size=64".

    Raises:
        FileNotFoundError: a file is missing. ValueError: a key or value is wrong; the message says what is right.
    """
    path = find_config(name)
    layers, above = _read_layers(path), {}
    for text in overrides:
        above = _merge(above, _parse_override(text))
    try:
        values = _stack([*layers, above])
        check_name(values.setdefault("model", {}))
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def to_dict(config) -> dict:
    """Plain nested dictionary of a configuration, ready for JSON or YAML; `from_dict` reads it back."""

    def plain(value):
        if isinstance(value, LossConfig):
            value = vars(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config)
