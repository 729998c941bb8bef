"""Swin transformer of any image size, with QuickGELU unless the option `activation` asks for GELU.

MindCV's is fixed to 224 px and returns no patch tokens.

Only attention inside windows depends on the order of tokens. So tokens stay in window order, and one gather moves them
between plain and shifted windows, or gathers the 2x2 neighbours of patch merging, in place of rolls and transposes.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer

from lightclip_ms.encoders.contract import ImageEncoder
from lightclip_ms.encoders.layers import (
    TransformerBlock,
    check_activation,
    check_heads,
    dense,
    layer_norm,
    map_to_tokens,
)
from lightclip_ms.encoders.windows import merge_order, relative_index, shifted_window_mask, window_order

STD = 0.02


class Reorder(nn.Cell):
    """Move tokens [N, P, C] from one order to another. The gradient is the opposite move, not a scatter-add."""

    def __init__(self, source: np.ndarray, target: np.ndarray):
        super().__init__()
        # argsort(source) finds each raster token in the old order; `target` lists them in the new one.
        index = np.argsort(source)[target].astype(np.int32)
        self._forward = Tensor(index)
        self._backward = Tensor(np.argsort(index).astype(np.int32))
        self._gather = ops.Gather()

    def construct(self, x):
        return self._gather(x, self._forward, 1)

    def bprop(self, x, out, dout):
        return (self._gather(dout, self._backward, 1),)


class SwinBlock(nn.Cell):
    """Attention within windows of T tokens and an MLP; tokens [N, P, C] come in the order of the windows."""

    def __init__(self, channels: int, heads: int, size: int, window: int, shift: int, activation: str):
        super().__init__()
        self.block = TransformerBlock(channels, heads, STD, STD, STD, activation)
        self.bias_shape = (1, window * window, window * window, heads)
        self.relative_bias = Parameter(initializer(Normal(STD), ((2 * window - 1) ** 2, heads), ms.float32))
        self._index = Tensor(relative_index(window).astype(np.int32))
        self._mask = Tensor(shifted_window_mask(size, window, shift)) if shift else None

    def construct(self, x):
        # One learned number per head for every relative position of two tokens in a window.
        bias = ops.gather(self.relative_bias, self._index, 0).reshape(self.bias_shape).transpose(0, 3, 1, 2)
        if self._mask is not None:
            bias = bias + self._mask  # [W, H, T, T]
        return self.block(x, bias)


class SwinStage(nn.Cell):
    """Blocks with plain and shifted windows in turn, on a map of size x size tokens.

    Tokens enter in the order `first_order` and leave in `last_order`; `to_raster` brings those to raster order.
    """

    def __init__(self, channels: int, depth: int, heads: int, size: int, window: int, activation: str = "quick_gelu"):
        super().__init__()
        # Where the map is one window, there is nothing to shift.
        window = min(window, size)
        shift = window // 2 if window < size else 0
        plain, shifted = window_order(size, window, 0), window_order(size, window, shift)
        blocks = [SwinBlock(channels, heads, size, window, i % 2 * shift, activation) for i in range(depth)]
        self.blocks = nn.CellList(blocks)
        self.first_order = plain
        self.last_order = plain if depth % 2 else shifted
        self.moves = shift > 0
        self.to_plain, self.to_shifted = Reorder(shifted, plain), Reorder(plain, shifted)
        self.to_raster = Reorder(self.last_order, np.arange(size * size))

    def construct(self, x):
        for i, block in enumerate(self.blocks):
            if self.moves and i > 0:  # odd blocks attend in shifted windows
                x = self.to_shifted(x) if i % 2 else self.to_plain(x)
            x = block(x)
        return x


class PatchMerging(nn.Cell):
    """[N, P, C] -> [N, P / 4, 2 C]: four neighbours' channels, normalised and mapped to twice the width."""

    def __init__(self, channels: int, source: np.ndarray, target: np.ndarray, size: int):
        super().__init__()
        self.gather = Reorder(source, merge_order(target, size))
        self.norm = layer_norm(4 * channels)
        self.reduction = dense(4 * channels, 2 * channels, STD, bias=False)

    def construct(self, x):
        # After the gather, four neighbours follow each other, so that a reshape joins their channels.
        n, length, channels = x.shape
        return self.reduction(self.norm(self.gather(x).reshape(n, length // 4, 4 * channels)))


def _check_windows(image_size: int, patch: int, window: int) -> None:
    if image_size % (8 * patch):
        raise ValueError(f"swin: image size {image_size} must be a multiple of {8 * patch}")
    sizes = [image_size // patch >> stage for stage in range(4)]

    def fits(w):
        return all(size <= w or size % w == 0 for size in sizes)

    if not 1 < window or not fits(window):
        fitting = [w for w in range(2, sizes[0] + 1) if fits(w)]
        raise ValueError(
            f"swin: window {window} does not tile the maps {sizes} of a {image_size} px image; use one of {fitting}"
        )


class SwinTransformer(ImageEncoder):
    """Swin: patch embedding, four stages, final LayerNorm, mean over tokens, linear map with bias to E.

    Args:
        image_size: side of the square input in pixels.
        embed_dim: E.
        embed: channels of the first stage; each later one has twice as many.
        depths, heads: blocks and attention heads of each stage.
        window: side of a window in tokens; where a stage's map is smaller, the map is the window.
        patch: side of a patch in pixels.
        activation: quick_gelu, or gelu for the weights of other projects.
    """

    def __init__(
        self,
        image_size: int,
        embed_dim: int,
        embed: int = 48,
        depths=(2, 2, 6, 2),
        heads=(3, 6, 12, 24),
        window: int = 7,
        patch: int = 4,
        activation: str = "quick_gelu",
    ):
        super().__init__(image_size, embed_dim, [embed * 2**i for i in range(4)], [patch * 2**i for i in range(4)])
        if len(depths) != 4 or len(heads) != 4:
            raise ValueError(f"swin: depths and heads need four entries each, not {depths} and {heads}")
        _check_windows(image_size, patch, window)
        check_activation(activation, "swin")
        self.patch_embed = nn.Conv2d(3, embed, patch, patch, "valid", has_bias=True, weight_init=Normal(STD))
        self.patch_norm = layer_norm(embed)
        sizes = [image_size // stride for stride in self.stage_strides]
        stages = []
        for channels, depth, count, size in zip(self.stage_channels, depths, heads, sizes):
            check_heads(channels, count, "swin")
            stages.append(SwinStage(channels, depth, count, size, window, activation))
        self.stages = nn.CellList(stages)
        self.to_windows = Reorder(np.arange(sizes[0] ** 2), stages[0].first_order)
        merges = [
            PatchMerging(self.stage_channels[i], stages[i].last_order, stages[i + 1].first_order, sizes[i])
            for i in range(3)
        ]
        self.merges = nn.CellList(merges)
        self.norm = layer_norm(self.stage_channels[-1])
        self.head = dense(self.stage_channels[-1], embed_dim, STD)

    def forward_features(self, images):
        """[N, 3, H, W] -> (four stages [N, P_s, C_s], tokens [N, P, C_4], pooled [N, E]).

        The last stage and the tokens are those after the final LayerNorm.
        """
        if images.shape[-1] != self.image_size:
            raise ValueError(f"swin: images must be {self.image_size} px wide, not {images.shape[-1]}")
        x = self.to_windows(self.patch_norm(map_to_tokens(self.patch_embed(images))))
        outputs = ()
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i < 3:  # the last stage is returned after the final LayerNorm
                outputs += (stage.to_raster(x),)
                x = self.merges[i](x)
        x = self.norm(x)
        tokens = self.stages[3].to_raster(x)
        return outputs + (tokens,), tokens, self.pool_tokens(x)

    def pool_tokens(self, tokens):
        """Tokens of the last stage [N, P, C_4], in any order -> pooled [N, E]."""
        return self.head(tokens.mean(axis=1))
