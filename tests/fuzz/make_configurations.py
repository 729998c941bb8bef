"""Configuration files and overrides: wrong values for right keys, hostile YAML, and damage."""

import functools
import random

import numpy as np
import yaml

from lightclip_ms.config.file import load_config, to_dict
from tests import ROOT
from tests.fuzz.mutate import mutate

_VALUES = (  # YAML texts
    *("0", "-1", "1", "7", "1e20", "1e400", "-1e400", ".inf", "-.inf", ".nan", "nan", "inf", "1_000", "010", "0x10"),
    *(
        "100000000000000000000",
        "1000000",
        "9" * 5000,
        "1:30",
        "2024-01-01",
        "5e-4",
        "0.5",
        "true",
        "no",
        "~",
        "null",
        "",
    ),
    *("[]", "{}", "[1, 2]", "[0.5, 1]", "[1, a]", "[[1], [2]]", "{a: 1}", "{width: 100000000}", "{depths: [1000000]}"),
    *("{width: abc}", "{width: 8, depths: [1, 1, 1, 1]}", "{1: 2}", "{depths: {a: b}}", "[.nan, .nan]", "[1e400, 1]"),
    *("abc", "'quoted'", '"\\0"', '"\\ud800"', "!!int x", "!!binary x", "!!timestamp x", "!!python/object:os.system x"),
    *("!!set {a, b}", "!!omap [a: 1]", "*a", "&a 1", "&a [*a]", "'", '"', "[", "{", "|", ">", "@", "`", "%", ",", "\t"),
    *(
        "*.tar",
        "{00000..00003}.tar",
        "set #1/x.csv",
        "a: b",
        "- a",
        "? [a]",
        "x" * 50_000,
        "[" * 300,
        "ünï 🐶",
        "/x\udcff",
    ),
)
_DOCUMENTS = (
    *("", "\n", "#", "---", "--- a\n--- b", "- 1", "text", "1", "null", "[]", "\0", "\ufeffdevice: cpu", "a: 1\na: 2"),
    *("device: cpu\ndevice: gpu", "train: {lr: 1.0e-3, lr: 2.0e-3}", "base: [a]", "base: nowhere.yaml", "base: ."),
    *(
        "base: /dev/zero",
        "base: config.yaml",
        "<<: {device: cpu}",
        "<<: [1]",
        "? {a: b}\n: c",
        "1: 2",
        "~: ~",
        "true: 1",
    ),
    *("&a device: cpu", "%YAML 9.9\n---\ndevice: cpu", "!!map [a]", "loss: [1]", "model:", "train: ~", "loss: {1: 2}"),
    *("[" * 50_000, "{" * 50_000, "- " * 50_000, "a:\n" * 30_000, "? " * 30_000, "[" + "1," * 49_000 + "1]"),
    *("\n".join(f"k{number}: 1" for number in range(9000)), "x" * 200_000, "'" * 90_000, "!" * 90_000, "&a " * 30_000),
    "a: &a [1,1,1,1,1,1,1,1,1]\n"
    + "\n".join(f"{new}: &{new} [{','.join(['*' + old] * 9)}]" for old, new in zip("abcdefghi", "bcdefghij")),
)


@functools.lru_cache(maxsize=1)
def _whole() -> dict:
    return to_dict(load_config(str(ROOT / "configs/demo.yaml")))


def _keys(values: dict, prefix: str = ""):
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _with_value(key: str, text: str) -> str:
    """A document that gives `key` the YAML `text`."""
    *sections, name = key.split(".")
    return "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections)) + (
        f"{'  ' * len(sections)}{name}: {text}\n"
    )


def make(rng: np.random.Generator, folder) -> tuple[str, list[str]]:
    """(path of a configuration, overrides)."""
    pick = random.Random(int(rng.integers(2**32)))
    keys = [*_keys(_whole()), "model.image_options.width", "trian.lr", "a" * 1000, ".", "model..name", "a." * 2000, "1"]
    kind = pick.random()
    if kind < 0.1:
        data = pick.choice(_DOCUMENTS).encode("utf-8", "surrogateescape")
    elif kind < 0.45:
        data = _with_value(pick.choice(keys), pick.choice(_VALUES)).encode("utf-8", "surrogateescape")
    elif kind < 0.6:
        values = {key: value for key, value in _whole().items() if pick.random() < 0.8}
        data = yaml.safe_dump(values, default_flow_style=pick.choice((None, False))).encode()
    else:
        data = yaml.safe_dump(_whole()).encode()
    if kind > 0.8 or pick.random() < 0.1:
        data = mutate(data, rng)
    if pick.random() < 0.05:
        data = data.decode("utf-8", "replace").encode(
            pick.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp500")), "replace"
        )
    path = folder / "config.yaml"
    path.write_bytes(data)
    overrides = []
    for _ in range(pick.choice((0, 0, 1, 2))):
        form = pick.choice(("{}={}", "{}={}", "{}={}", "{}{}", "={}{}", "{}=={}"))
        overrides.append(form.format(pick.choice(keys), pick.choice(_VALUES)))
    return str(path), overrides
