"""Window bookkeeping of Swin in numpy: orders of tokens, the mask of shifted windows, relative positions.

An "order" of a map of S x S tokens is an int array [S * S]: the raster index of the token at each place.
"""

import numpy as np


def window_order(size: int, window: int, shift: int) -> np.ndarray:
    """Tokens window by window, after the map was rolled by -shift along both axes: int [S * S]."""
    return _partition(np.roll(np.arange(size * size).reshape(size, size), (-shift, -shift), (0, 1)), window)


def merge_order(order: np.ndarray, size: int) -> np.ndarray:
    """Raster indices of the 2x2 neighbours behind each token of a merged map.

    Args:
        order: order of the merged map, [(S / 2)^2].
        size: S.

    Returns:
        int [S * S]; each token's four neighbours are adjacent, down before right, as in Swin's patch merging.
    """
    row, column = np.divmod(order, size // 2)
    corners = [(2 * row + down) * size + 2 * column + right for right in (0, 1) for down in (0, 1)]
    return np.stack(corners, axis=1).reshape(-1)


def shifted_window_mask(size: int, window: int, shift: int) -> np.ndarray:
    """float32 [W, 1, T, T] for W windows of T tokens: -100 between tokens that only the roll made neighbours."""
    band = np.digitize(np.arange(size), (size - window, size - shift))
    region = _partition(3 * band[:, None] + band[None, :], window).reshape(-1, 1, window * window)
    return np.where(region[..., :, None] != region[..., None, :], -100.0, 0.0).astype(np.float32)


def relative_index(window: int) -> np.ndarray:
    """int [T * T]: the row of the relative position bias table for every pair of a window's tokens."""
    row, column = np.divmod(np.arange(window * window), window)
    offset = window - 1
    down = row[:, None] - row[None, :] + offset
    right = column[:, None] - column[None, :] + offset
    return (down * (2 * window - 1) + right).reshape(-1)


def _partition(grid: np.ndarray, window: int) -> np.ndarray:
    count = grid.shape[0] // window
    return grid.reshape(count, window, count, window).transpose(0, 2, 1, 3).reshape(-1)
