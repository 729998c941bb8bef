"""Arrays that only rank 0 has, handed to every rank: one reader of a file instead of one per rank."""

import json
from collections.abc import Iterator

import numpy as np

from lightclip_ms.runtime import parallel

CHUNK_BYTES = 64 * 2**20  # of one transfer; a multiple of 4


def share_from_first(arrays: dict[str, np.ndarray] | None, about, rank: int, world_size: int):
    """`arrays` and the JSON-able `about` of rank 0 on every rank, bit for bit; what other ranks pass is ignored.

    Args:
        arrays: of any dtype; None on rank 0 stands for none.

    Returns:
        (arrays or None, about).
    """
    if world_size == 1:
        return arrays, about
    from_first, layout = parallel.FromFirst(), None
    if rank == 0 and arrays is not None:
        arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        layout = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    text = np.frombuffer(json.dumps([layout, about]).encode(), np.uint8).copy()
    size = from_first(np.array([text.size], np.int32))[0]
    if rank:
        text = np.empty(size, np.uint8)
    _share([text], rank, from_first)
    layout, about = json.loads(text.tobytes())
    if layout is None:
        return None, about
    if rank:
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in layout}
    _share([array.reshape(-1).view(np.uint8) for array in arrays.values()], rank, from_first)
    return arrays, about


def _share(parts: list[np.ndarray], rank: int, from_first: parallel.FromFirst) -> None:
    """Fill flat uint8 arrays with those of rank 0, chunk by chunk."""
    total = sum(part.size for part in parts)
    # Words of 32 bits, as every back end has a kernel for them; one size, so that one graph is compiled.
    words = np.zeros(min(CHUNK_BYTES, -(-total // 4) * 4) // 4, np.int32)
    for pieces in _chunks(parts, words.nbytes):
        places = np.cumsum([0, *(piece.size for piece in pieces)])
        if rank == 0:
            for start, piece in zip(places, pieces):
                words.view(np.uint8)[start : start + piece.size] = piece
        received = from_first(words).view(np.uint8)
        if rank:
            for start, piece in zip(places, pieces):
                piece[:] = received[start : start + piece.size]


def _chunks(parts: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """Views of the parts, in lists of `size` bytes; the last one may be smaller."""
    pieces, filled = [], 0
    for part in parts:
        start = 0
        while start < part.size:
            piece = part[start : start + size - filled]
            pieces.append(piece)
            start, filled = start + piece.size, filled + piece.size
            if filled == size:
                yield pieces
                pieces, filled = [], 0
    if pieces:
        yield pieces
