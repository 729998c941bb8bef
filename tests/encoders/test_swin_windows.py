"""Swin against the textbook form: rolled maps, cut windows, masked attention, merged neighbours, in float64 numpy."""

import mindspore as ms
import numpy as np
import pytest

import lightclip_ms  # noqa: F401
from lightclip_ms.encoders.swin import PatchMerging, Reorder, SwinStage
from lightclip_ms.encoders.windows import merge_order, relative_index, shifted_window_mask, window_order
from tests.encoders import numpy_layers as oracle


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def windows(grid, window):
    """[S, S, C] -> list of [window^2, C], one loop per axis."""
    size = grid.shape[0]
    return [
        grid[top : top + window, left : left + window].reshape(window * window, -1)
        for top in range(0, size, window)
        for left in range(0, size, window)
    ]


@pytest.mark.parametrize("size, window, shift", [(8, 4, 0), (8, 4, 2), (14, 7, 3), (6, 3, 1), (7, 7, 0)])
def test_window_order_is_roll_then_partition(size, window, shift):
    grid = np.random.default_rng(0).standard_normal((size, size, 2))
    rolled = np.roll(grid, (-shift, -shift), (0, 1))
    got = grid.reshape(size * size, 2)[window_order(size, window, shift)]
    np.testing.assert_array_equal(got, np.concatenate(windows(rolled, window)))


def test_mask_lets_only_real_neighbours_meet():
    """Two tokens of a shifted window may meet when the roll moved neither, or both, across the border."""
    size, window, shift = 8, 4, 2
    mask = shifted_window_mask(size, window, shift)
    order = window_order(size, window, shift).reshape(-1, window * window)
    assert mask.shape == (4, 1, 16, 16)
    for tokens, allowed in zip(order, mask[:, 0] == 0):
        row, column = np.divmod(tokens, size)
        close = (np.abs(row[:, None] - row) < window) & (np.abs(column[:, None] - column) < window)
        np.testing.assert_array_equal(allowed, close)
    assert set(np.unique(mask)) == {-100.0, 0.0}


def test_relative_index_depends_on_the_offset_alone():
    window = 3
    index = relative_index(window).reshape(9, 9)
    seen = {}
    for a in range(9):
        for b in range(9):
            offset = (a // 3 - b // 3, a % 3 - b % 3)
            assert seen.setdefault(offset, index[a, b]) == index[a, b]
    assert sorted(seen.values()) == list(range((2 * window - 1) ** 2))
    assert index[0, 0] == 12 and index[0, 8] == 0 and index[8, 0] == 24  # the middle, first and last offset


def test_merge_order_stacks_the_four_neighbours():
    size = 6
    grid = np.random.default_rng(0).standard_normal((size, size, 5))
    target = window_order(size // 2, 3, 1)
    merged = np.concatenate([grid[0::2, 0::2], grid[1::2, 0::2], grid[0::2, 1::2], grid[1::2, 1::2]], axis=-1)
    got = grid.reshape(-1, 5)[merge_order(target, size)].reshape(-1, 20)
    np.testing.assert_array_equal(got, merged.reshape(-1, 20)[target])


def test_gradient_of_reorder_is_the_opposite_move():
    rng = np.random.default_rng(0)
    source, target = rng.permutation(6), rng.permutation(6)
    move = Reorder(source, target)
    raster = rng.standard_normal((2, 6, 3)).astype(np.float32)
    weight = rng.standard_normal((2, 6, 3)).astype(np.float32)
    x = ms.Tensor(raster[:, source])
    np.testing.assert_array_equal(move(x).asnumpy(), raster[:, target])
    scale = ms.Tensor(weight[:, target])

    def loss(x):
        return (move(x) * scale).sum()

    gradient = ms.jit(ms.grad(loss))(x)
    np.testing.assert_allclose(gradient.asnumpy(), weight[:, source])


def textbook_block(grid, w, name, heads, window, shift):
    """One Swin block on a map [S, S, C] by rolling, cutting windows, and putting them back."""
    size, channels = grid.shape[0], grid.shape[2]
    index = relative_index(window)
    relative = w[f"{name}relative_bias"][index].reshape(window**2, window**2, heads).transpose(2, 0, 1)
    masks = shifted_window_mask(size, window, shift)[:, 0] if shift else np.zeros((size // window) ** 2)

    def attend(query, key, value, heads):
        maps = [np.roll(t.reshape(size, size, channels), (-shift, -shift), (0, 1)) for t in (query, key, value)]
        out = np.empty((size, size, channels))
        cut = zip(*(windows(grid, window) for grid in maps))
        for number, (q, k, v) in enumerate(cut):
            top, left = (window * i for i in divmod(number, size // window))
            context = oracle.attention(q, k, v, heads, relative + masks[number])
            out[top : top + window, left : left + window] = context.reshape(window, window, channels)
        return np.roll(out, (shift, shift), (0, 1)).reshape(size * size, channels)

    x = oracle.transformer_block(grid.reshape(size * size, channels), w, f"{name}block.", heads, attend)
    return x.reshape(grid.shape)


@pytest.mark.parametrize("size, window, depth", [(6, 3, 3), (4, 7, 2)])
def test_stage_and_merging_equal_the_textbook(size, window, depth):
    heads, channels = 2, 8
    stage = SwinStage(channels, depth, heads, size, window)
    w = oracle.randomize(stage)
    rng = np.random.default_rng(1)
    grid = rng.standard_normal((size, size, channels))
    x = grid.reshape(1, size * size, channels).astype(np.float32)
    order = window_order(size // 2, size // 2, 0)
    merging = PatchMerging(channels, stage.last_order, order, size)
    w_merge = oracle.randomize(merging, seed=2)
    out = stage(ms.Tensor(x[:, stage.first_order]))
    used = min(window, size)
    for i in range(depth):
        shift = used // 2 if i % 2 and used < size else 0
        grid = textbook_block(grid, w, f"blocks.{i}.", heads, used, shift)
    np.testing.assert_allclose(stage.to_raster(out).asnumpy()[0], grid.reshape(-1, channels), rtol=1e-4, atol=1e-4)
    merged = np.concatenate([grid[0::2, 0::2], grid[1::2, 0::2], grid[0::2, 1::2], grid[1::2, 1::2]], axis=-1)
    want = oracle.linear(oracle.layer_norm(merged.reshape(-1, 4 * channels), w_merge, "norm"), w_merge, "reduction")
    np.testing.assert_allclose(merging(out).asnumpy()[0], want, rtol=1e-4, atol=1e-4)
