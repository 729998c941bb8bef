"""Folders of class folders with things in them that are no pictures, and lists of class names."""

import os
import socket

import numpy as np

from tests.fuzz.make_pictures import originals
from tests.fuzz.mutate import mutate

_FOLDERS = (
    [str(number) for number in range(12)],
    [f"{number:02d}" for number in range(12)],
    ["1", "01", "2"],
    ["3", "7", "10"],
    [f"class{number}" for number in range(12)],
    ["n01440764", "n01443537", "n01484850"],
    ["tabby_cat", "dog", "Great White"],
    ["a", "B", "c"],
    ["\udcff\udcfe", "ünï", "\u0661", "²"],
    ["cat.jpg", "dog"],
    ["9" * 200, "1"],
    [],
)


def _pick(rng, options):
    return options[int(rng.integers(0, len(options)))]


def _names(rng, folders: list[str]) -> list[str] | None:
    """A list of class names: of these folders, of others, in any order and form, or none."""
    form = int(rng.integers(0, 7))
    if form == 0:
        return None
    lines = [
        lambda name: name,
        lambda name: f"{name}\tname of {name}",
        lambda name: f"n0144076{len(name) % 10} tench, {name}",
        lambda name: name.upper().replace("_", " "),
        lambda name: f"name of {name}",
        lambda name: _pick(rng, ("&nbsp;", "x\t", "\ty", "", name)),
    ][form - 1]
    names = [lines(name) for name in folders]
    if rng.random() < 0.3:
        names = [names[place] for place in rng.permutation(len(names))]
    if rng.random() < 0.2:
        names = names[1:] if rng.random() < 0.5 else [*names, "one more"]
    return names


def _entry(rng, path) -> None:
    """Something at `path` that may or may not be a picture."""
    kind = int(rng.integers(0, 11))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        with socket.socket(socket.AF_UNIX) as pipe:
            try:
                pipe.bind(path)
            except OSError:  # a path that is too long or no text
                pass
    elif kind == 2:
        os.makedirs(os.path.join(path, "deeper"))
    elif kind == 3:
        os.symlink(_pick(rng, ("/nowhere", "/dev/zero", "/proc/self/status", path, ".", "..", "/dev/stdin")), path)
    elif kind == 4:
        with open(path, "wb") as file:
            file.truncate(int(_pick(rng, (0, 2**33, 2**40))))
    else:
        data = _pick(rng, originals())
        with open(path, "wb") as file:
            file.write(mutate(data, rng) if kind == 5 else data)


def make(rng: np.random.Generator, folder) -> tuple[str, list[str] | None]:
    """(root, class names or None)."""
    folders = _pick(rng, _FOLDERS)
    for name in folders:
        os.makedirs(folder / name)
        for number in range(int(rng.integers(0 if rng.random() < 0.1 else 1, 4))):
            ending = _pick(rng, ("jpg", "JPEG", "png", "txt", "webp", ""))
            entry = os.path.join(folder, name, f"{number}.{ending}")
            if number == 0 and rng.random() < 0.9:
                with open(f"{entry}.jpg", "wb") as file:
                    file.write(originals()[0])
            else:
                _entry(rng, entry)
    if rng.random() < 0.2:
        _entry(rng, os.path.join(folder, "outside.jpg"))
    return str(folder), _names(rng, folders)
