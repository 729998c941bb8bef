"""CLIP-style ResNet18: three-convolution stem, average pooling before strided shortcuts, attention pooling.

MindCV's ResNet differs in stem and shortcuts.
"""

from functools import partial

from mindspore import nn, ops

from lightclip_ms.encoders.attention_pool import AttentionPool
from lightclip_ms.encoders.contract import ImageEncoder
from lightclip_ms.encoders.layers import conv_norm, map_to_tokens, stage_strides

STEM_POOLS = {
    "average": partial(nn.AvgPool2d, 2, 2),
    "max": partial(nn.MaxPool2d, 3, 2, "pad", 1),
}


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions and a shortcut that averages before its 1x1 convolution where the map shrinks."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = conv_norm(inputs, outputs, 3, stride)
        # As in CLIP, a block starts as the identity: the last normalisation's scale is zero.
        self.second = conv_norm(outputs, outputs, 3, activation=None, gamma="zeros")
        shortcut = [nn.AvgPool2d(stride, stride)] if stride > 1 else []
        if stride > 1 or inputs != outputs:
            shortcut.append(conv_norm(inputs, outputs, 1, activation=None))
        self.shortcut = nn.SequentialCell(shortcut)

    def construct(self, x):
        return ops.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(ImageEncoder):
    """ResNet with a three-convolution stem, basic blocks and attention pooling (512 -> E at width 64).

    Args:
        image_size: side of the square input in pixels.
        embed_dim: E.
        width: channels of the first stage; the others have 2, 4 and 8 times as many.
        depths: blocks of each stage.
        last_stride: of the last stage; 1 leaves it the third one's map, of a 64 px image 16 patches instead of 4.
        stem_pool: behind the stem, average (2x2, as in CLIP) or max (3x3, for the weights of other projects).
    """

    def __init__(
        self,
        image_size: int,
        embed_dim: int,
        width: int = 64,
        depths=(2, 2, 2, 2),
        last_stride: int = 2,
        stem_pool: str = "average",
    ):
        super().__init__(image_size, embed_dim, [width * 2**i for i in range(4)], stage_strides(last_stride, "resnet"))
        if len(depths) != 4:
            raise ValueError(f"resnet: depths needs four entries, not {depths}")
        if width % 2:
            raise ValueError(f"resnet: width {width} must be even")
        # Three 3x3 convolutions and an average pool instead of 7x7 and max pool, as in CLIP's ResNets.
        stem = [conv_norm(3, width // 2, 3, 2), conv_norm(width // 2, width // 2, 3), conv_norm(width // 2, width, 3)]
        if stem_pool not in STEM_POOLS:
            raise ValueError(f"resnet: stem_pool is {' or '.join(STEM_POOLS)}, not {stem_pool!r}")
        self.stem = nn.SequentialCell(stem + [STEM_POOLS[stem_pool]()])
        stages = []
        inputs = width
        # The first block of a stage halves the map and changes the width.
        for channels, depth, stride in zip(self.stage_channels, depths, (1, 2, 2, last_stride)):
            blocks = [BasicBlock(inputs, channels, stride)]
            blocks += [BasicBlock(channels, channels, stride=1) for _ in range(depth - 1)]
            stages.append(nn.SequentialCell(blocks))
            inputs = channels
        self.stages = nn.CellList(stages)
        self.pool = AttentionPool(inputs, embed_dim)

    def forward_features(self, images):
        """[N, 3, H, W] -> (four stages [N, P_s, C_s], tokens [N, P, C_4], pooled [N, E])."""
        x = self.stem(images)
        outputs = ()
        for stage in self.stages:
            x = stage(x)
            outputs += (map_to_tokens(x),)
        return outputs, outputs[-1], self.pool_tokens(outputs[-1])

    def pool_tokens(self, tokens):
        """Tokens of the last stage [N, P, C_4] -> pooled [N, E]."""
        return self.pool(tokens)
