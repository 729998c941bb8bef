"""Encoders of the PyTorch yardstick, written as such models usually are; modules are named as in `lightclip_ms`."""

import torch
import torch.nn as nn

from benchmarks.torch_layers import AttentionPool, TransformerBlock, conv_norm, to_tokens


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = conv_norm(inputs, outputs, 3, stride)
        self.second = conv_norm(outputs, outputs, 3, activation=None)
        shortcut = [nn.AvgPool2d(stride)] if stride > 1 else []
        if stride > 1 or inputs != outputs:
            shortcut.append(conv_norm(inputs, outputs, 1, activation=None))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x):
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class Staged(nn.Module):
    """Stem, four stages and attention pooling: (four stages [N, P_s, C_s], tokens, pooled [N, E])."""

    def forward(self, x):
        x = self.stem(x)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(to_tokens(x))
        return stages, stages[-1], self.pool(stages[-1])


class ResNet(Staged):
    def __init__(self, image_size, embed_dim, width=64, depths=(2, 2, 2, 2), last_stride=2):
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(3, width // 2, 3, 2),
            conv_norm(width // 2, width // 2, 3),
            conv_norm(width // 2, width, 3),
            nn.AvgPool2d(2),
        )
        self.stage_channels = [width * 2**i for i in range(4)]
        stages, inputs = [], width
        for channels, depth, stride in zip(self.stage_channels, depths, (1, 2, 2, last_stride)):
            blocks = [BasicBlock(inputs, channels, stride)]
            blocks += [BasicBlock(channels, channels, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = channels
        self.stages = nn.ModuleList(stages)
        self.pool = AttentionPool(inputs, embed_dim)


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        expand = [conv_norm(inputs, hidden, 1, activation=nn.ReLU6)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            conv_norm(hidden, hidden, 3, stride, hidden, nn.ReLU6),
            conv_norm(hidden, outputs, 1, activation=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(Staged):
    # expansion, channels, blocks, stride; a stage's rows stand together
    ROWS = (
        ((1, 16, 1, 1), (6, 24, 2, 2)),
        ((6, 32, 3, 2),),
        ((6, 64, 4, 2), (6, 96, 3, 1)),
        ((6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def __init__(self, image_size, embed_dim):
        super().__init__()
        self.stem = conv_norm(3, 32, 3, 2, activation=nn.ReLU6)
        self.stage_channels = [rows[-1][1] for rows in self.ROWS]
        stages, inputs = [], 32
        for rows in self.ROWS:
            blocks = []
            for expansion, outputs, depth, stride in rows:
                for i in range(depth):
                    blocks.append(InvertedResidual(inputs, outputs, stride if i == 0 else 1, expansion))
                    inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.pool = AttentionPool(inputs, embed_dim)


def to_windows(x, window):
    """[N, S, S, C] -> [N * windows, T, C]."""
    n, size, _, channels = x.shape
    x = x.view(n, size // window, window, size // window, window, channels).transpose(2, 3)
    return x.reshape(-1, window * window, channels)


def from_windows(x, window, size):
    """[N * windows, T, C] -> [N, S, S, C]."""
    count, channels = size // window, x.shape[-1]
    return x.view(-1, count, count, window, window, channels).transpose(2, 3).reshape(-1, size, size, channels)


class SwinBlock(nn.Module):
    def __init__(self, channels, heads, size, window, shift):
        super().__init__()
        self.size, self.window, self.shift = size, window, shift
        self.block = TransformerBlock(channels, heads)
        self.relative_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        difference = place[:, :, None] - place[:, None, :] + window - 1
        self.register_buffer("index", difference[0] * (2 * window - 1) + difference[1], persistent=False)
        self.register_buffer("mask", self.shift_mask() if shift else None, persistent=False)

    def shift_mask(self):
        band = torch.zeros(self.size, dtype=torch.long)
        band[-self.window :] = 1
        band[-self.shift :] = 2
        region = to_windows((3 * band[:, None] + band)[None, :, :, None].float(), self.window)[..., 0]
        return torch.where(region[:, None, :] != region[:, :, None], -100.0, 0.0)[:, None]  # [W, 1, T, T]

    def forward(self, x):
        n, length, channels = x.shape
        y = self.block.norm1(x).view(n, self.size, self.size, channels)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        bias = self.relative_bias[self.index].permute(2, 0, 1)[None]
        if self.shift:
            bias = (bias + self.mask).repeat(n, 1, 1, 1)
        y = from_windows(self.block.attention(to_windows(y, self.window), bias), self.window, self.size)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return self.block.mlp(x + y.view(n, length, channels))


class SwinStage(nn.Module):
    def __init__(self, channels, depth, heads, size, window):
        super().__init__()
        window = min(window, size)
        shift = window // 2 if window < size else 0
        self.blocks = nn.Sequential(*[SwinBlock(channels, heads, size, window, i % 2 * shift) for i in range(depth)])

    def forward(self, x):
        return self.blocks(x)


class PatchMerging(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.size = size
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x):
        x = x.view(x.shape[0], self.size, self.size, -1)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x.flatten(1, 2)))


class Swin(nn.Module):
    def __init__(self, image_size, embed_dim, embed=48, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7):
        super().__init__()
        self.stage_channels = [embed * 2**i for i in range(4)]
        sizes = [image_size // 4 // 2**i for i in range(4)]
        self.patch_embed = nn.Conv2d(3, embed, 4, 4)
        self.patch_norm = nn.LayerNorm(embed)
        rows = zip(self.stage_channels, depths, heads, sizes)
        self.stages = nn.ModuleList([SwinStage(*row, window) for row in rows])
        self.merges = nn.ModuleList([PatchMerging(*row) for row in zip(self.stage_channels[:3], sizes)])
        self.norm = nn.LayerNorm(self.stage_channels[-1])
        self.head = nn.Linear(self.stage_channels[-1], embed_dim)

    def forward(self, images):
        x = self.patch_norm(to_tokens(self.patch_embed(images)))
        stages = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i < 3:
                stages.append(x)
                x = self.merges[i](x)
        x = self.norm(x)
        return [*stages, x], x, self.head(x.mean(1))


class TextTransformer(nn.Module):
    def __init__(self, vocab_size, context_length, width, heads, layers, embed_dim):
        super().__init__()
        self.sot_id, self.eot_id = vocab_size - 2, vocab_size - 1
        self.token_embedding = nn.Embedding(vocab_size + 1, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.stages = nn.ModuleList(
            [nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers // 4)]) for _ in range(4)]
        )
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, ids):
        """int64 [N, L] -> (four stages [N, L, D], pooled [N, E])."""
        x = self.token_embedding(ids) + self.positional_embedding
        stages = []
        for stage in self.stages:
            for block in stage:
                x = block(x, causal=True)
            stages.append(x)
        last = self.norm(x)
        end = (ids == self.eot_id).int().argmax(1)
        return [*stages[:3], last], self.projection(last[torch.arange(len(ids)), end])


IMAGE_ENCODERS = {"resnet18": ResNet, "mobilenet_v2": MobileNetV2, "swin_nano": Swin}
