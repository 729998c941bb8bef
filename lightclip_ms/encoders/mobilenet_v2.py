"""MobileNetV2 up to its 320-channel block, with attention pooling.

MindCV's MobileNetV2 ends with a 1x1 convolution to 1280 channels instead.
"""

from mindspore import nn

from lightclip_ms.encoders.attention_pool import AttentionPool
from lightclip_ms.encoders.contract import ImageEncoder
from lightclip_ms.encoders.layers import conv_norm, map_to_tokens, stage_strides

# expansion, channels, blocks, stride of the first block; stages end after the rows that STAGE_ENDS names
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STAGE_ENDS = (1, 2, 4, 6)


def _round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, never more than 10 % below (as MobileNetV2 defines its width multiplier)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class InvertedResidual(nn.Cell):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        layers = [conv_norm(inputs, hidden, 1, activation="relu6")] if expansion > 1 else []
        layers += [
            conv_norm(hidden, hidden, 3, stride, groups=hidden, activation="relu6"),
            conv_norm(hidden, outputs, 1, activation=None),
        ]
        self.layers = nn.SequentialCell(layers)
        self.shortcut = stride == 1 and inputs == outputs

    def construct(self, x):
        return x + self.layers(x) if self.shortcut else self.layers(x)


class MobileNetV2(ImageEncoder):
    """MobileNetV2 with attention pooling (320 -> E at width 1).

    Args:
        image_size: side of the square input in pixels.
        embed_dim: E.
        width_mult: multiplies the channels; 320 times it must round to a multiple of 64.
        last_stride: stride of the last stage, 2 or 1; 1 leaves small images four times the patches.
    """

    def __init__(self, image_size: int, embed_dim: int, width_mult: float = 1.0, last_stride: int = 2):
        channels = [_round_channels(BLOCKS[row][1] * width_mult) for row in STAGE_ENDS]
        super().__init__(image_size, embed_dim, channels, stage_strides(last_stride, "mobilenet_v2"))
        inputs = _round_channels(32 * width_mult)
        self.stem = conv_norm(3, inputs, 3, 2, activation="relu6")
        stages, blocks = [], []
        for row, (expansion, outputs, depth, stride) in enumerate(BLOCKS):
            outputs = _round_channels(outputs * width_mult)
            if stride == 2 and row == 5:  # the row that halves the map for the last stage
                stride = last_stride
            for i in range(depth):
                blocks.append(InvertedResidual(inputs, outputs, stride if i == 0 else 1, expansion))
                inputs = outputs
            if row in STAGE_ENDS:
                stages.append(nn.SequentialCell(blocks))
                blocks = []
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
