"""Random damage to bytes, shared by the generators."""

import numpy as np

_EDGES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01", b"\x80\0\0\0")


def mutate(data: bytes, rng: np.random.Generator, times: int = 4) -> bytes:
    """Flip, overwrite, cut, insert, repeat or splice 1 to `times` places."""
    data = bytearray(data)
    for _ in range(rng.integers(1, times + 1)):
        at, length = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 30))
        kind = rng.integers(0, 6)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at : at + length] = rng.bytes(min(length, len(data) - at))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = rng.bytes(length)
        elif kind == 4:
            data[at:at] = data[at : at + length]
        else:
            data[at : at + 4] = _EDGES[rng.integers(0, len(_EDGES))]
    return bytes(data)
