"""Checkpoint files of a run: damaged, of other programs, with hostile headers, and things that only have their name."""

import hashlib
import json
import os
import random

import numpy as np
from safetensors.numpy import save

from lightclip_ms.model.weights import FORMAT, VERSION, write_checkpoint
from tests.fuzz.mutate import mutate

WEIGHT = "model/weight"
_HEADER = {"kind": "training", "global_step": 200, "world_size": 1, "config": {"model": {"name": "lightclip_demo"}}}
_VALUES = (
    None,
    True,
    -1,
    0,
    3.5,
    "x",
    "9" * 5000,
    [],
    {},
    [[]],
    {"a": None},
    10**30,
    float("nan"),
    float("inf"),
    "\ud800",
)
_MODELS = (
    *({"text_layers": 1_000_000}, {"text_width": 10**9}, {"image_size": 10**6}, {"name": []}, {"image_encoder": {}}),
    *({"image_options": {"depths": [10**6] * 4}}, {"image_options": [1]}, {"nonsense": 1}, {"embed_dim": float("nan")}),
)
_TEXTS = (
    "null",
    "[]",
    "1",
    "",
    "{",
    "NaN",
    "[" * 100_000,
    '{"a": ' * 50_000,
    "9" * 5000,
    '"x"',
    "true",
    "{}",
    "\ud800"[:0],
)
_DTYPES = ("F8_E4M3", "F8_E5M2", "BF16", "F16", "F64", "I64", "U64", "U8", "BOOL", "C64", "F4", "F32", "nonsense")


def good(path, weight: np.ndarray, **changes) -> None:
    """A whole checkpoint."""
    write_checkpoint(path, {WEIGHT: weight}, {**_HEADER, **changes})


def _raw(header: object, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file from its parts, whatever they say."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _signed(weight: np.ndarray, text: str, drop: str | None, version: str) -> bytes:
    """A file whose digest is right and whose metadata is not."""
    digest = hashlib.sha256(text.encode())
    digest.update(f"{WEIGHT} {weight.dtype} {weight.shape}".encode())
    digest.update(weight.tobytes())
    metadata = {"format": FORMAT, "version": version, "header": text, "digest": digest.hexdigest()}
    return save({WEIGHT: weight}, {name: value for name, value in metadata.items() if name != drop})


def _foreign(pick: random.Random) -> bytes:
    shape = pick.choice(([2, 3], [0], [], [6], [2**40], [2**62, 0], [-1], [1.5], ["a"], [2**63, 2**63]))
    ends = pick.choice(([0, 24], [0, 0], [0, 2**40], [24, 0], [1, 25], [0, 24, 3], [-8, 16], "x", [0, 12]))
    entry = pick.choice(({"dtype": pick.choice(_DTYPES), "shape": shape, "data_offsets": ends}, {}, [], None, "x"))
    metadata = {"format": FORMAT, "version": str(VERSION), "header": json.dumps(_HEADER), "digest": "0" * 64}
    header = {"__metadata__": pick.choice((metadata, metadata, {}, {"format": 1}, [], None)), WEIGHT: entry}
    length = pick.choice((None, None, None, 0, 2**63, 2**64 - 1, 10**9, 5))
    return _raw(pick.choice((header, header, header, [], b"{", b"")), bytes(24), length)


def _file(pick: random.Random, rng: np.random.Generator, path) -> None:
    """A file that may or may not be a checkpoint."""
    weight = rng.standard_normal((2, 3)).astype(np.float32)
    kind = pick.randrange(8)
    if kind == 0:
        path.write_bytes(
            pick.choice((b"", b"null", b"\0" * 8, b"{}", rng.bytes(200), b"PK\x03\x04" + bytes(100), b"\x80\x04N."))
        )
    elif kind in (1, 2):
        good(path, weight)
        path.write_bytes(mutate(path.read_bytes(), rng))
    elif kind == 3:
        weight = pick.choice(
            (weight * np.nan, weight.astype(pick.choice(("f2", "f8", "i4"))), weight.T.copy(), weight[:1], weight / 0)
        )
        good(path, weight)
    elif kind == 4:
        good(path, weight, **{pick.choice((*_HEADER, "other")): pick.choice(_VALUES)})
    elif kind == 5:
        good(path, weight, config={"model": {"name": "lightclip_demo", **pick.choice(_MODELS)}})
    elif kind == 6:
        version = pick.choice((str(VERSION), "1", "99", "-1", "x", "", "9" * 5000, "1.0", "\u0661"))
        drop = pick.choice((None, None, "format", "version", "header", "digest"))
        path.write_bytes(_signed(weight, pick.choice((json.dumps(_HEADER), *_TEXTS)), drop, version))
    else:
        path.write_bytes(_foreign(pick))
        if pick.random() < 0.3:
            os.truncate(path, pick.choice((0, 7, 8, 20, 10**12)))  # the last one: sparse


def make(rng: np.random.Generator, folder) -> str:
    """A run's checkpoints: one good one of step 100, and something of step 200."""
    pick = random.Random(int(rng.integers(2**32)))
    good(folder / "step_000000100.safetensors", np.ones((2, 3), np.float32), global_step=100)
    path = folder / "step_000000200.safetensors"
    kind = pick.random()
    if kind < 0.03:
        path.mkdir()
    elif kind < 0.06:
        path.symlink_to(pick.choice(("nowhere", "/dev/zero", ".", path.name, "/dev/null")))
    elif kind < 0.08:
        os.mkfifo(path)
    else:
        with np.errstate(all="ignore"):
            _file(pick, rng, path)
    return str(folder)
