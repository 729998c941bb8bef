"""LightCLIP in plain PyTorch: this file and the .safetensors beside it are all that is needed, besides torch.

    import lightclip_torch
    model, config = lightclip_torch.read_model("lightclip_torch.safetensors")
    image = model.encode_image(images)    # float32 [N, 3, S, S], CLIP's mean and deviation -> [N, E]
    text = model.encode_text(ids)         # int64 [N, L], CLIP's tokenizer -> [N, E]

The text tower's tensors have open_clip's names. N batch, P image tokens, L sequence length, D width, E embedding size.
"""

import json
import math
import struct

import torch
import torch.nn as nn
import torch.nn.functional as F

HEAD_CHANNELS = 64


def conv_norm(inputs, outputs, kernel, stride=1, groups=1, activation=nn.ReLU) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


def to_tokens(x):
    """[N, C, H, W] -> [N, H * W, C]."""
    return x.flatten(2).transpose(1, 2)


def heads_first(x, heads):
    """[N, L, D] -> [N, H, L, D / H]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(query, key, value, heads, mask=None, causal=False):
    """Multi-head attention of [N, Lq, D] to [N, Lk, D]."""
    context = F.scaled_dot_product_attention(
        heads_first(query, heads), heads_first(key, heads), heads_first(value, heads), mask, is_causal=causal
    )
    return context.transpose(1, 2).flatten(2)


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class SelfAttention(nn.Module):
    """Query, key and value as one product, under the names of `nn.MultiheadAttention`."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x, mask=None, causal=False):
        query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        return self.out_proj(attend(query, key, value, self.heads, mask, causal))


class TransformerBlock(nn.Module):
    """Pre-LN block, under open_clip's names."""

    def __init__(self, width, heads, activation="quick_gelu"):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def feed_forward(self, x):
        return x + self.mlp["c_proj"](self.activation(self.mlp["c_fc"](self.ln_2(x))))

    def forward(self, x, causal=False):
        return self.feed_forward(x + self.attn(self.ln_1(x), causal=causal))


class AttentionPool(nn.Module):
    """The mean token is the only query, the mean and all tokens are keys and values: [N, P, D] -> [N, E]."""

    def __init__(self, width, embed_dim):
        super().__init__()
        self.heads = width // HEAD_CHANNELS
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, embed_dim)

    def forward(self, tokens):
        mean = tokens.mean(1, keepdim=True)
        tokens = torch.cat((mean, tokens), 1)
        return self.out(attend(self.query(mean), self.key(tokens), self.value(tokens), self.heads)[:, 0])


class Staged(nn.Module):
    """Stem, four stages and attention pooling: (four stages [N, P_s, C_s], tokens, pooled [N, E])."""

    def forward(self, x):
        x = self.stem(x)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(to_tokens(x))
        return stages, stages[-1], self.pool(stages[-1])


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


class ResNet(Staged):
    def __init__(self, image_size, embed_dim, width=64, depths=(2, 2, 2, 2), last_stride=2, stem_pool="average"):
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(3, width // 2, 3, 2),
            conv_norm(width // 2, width // 2, 3),
            conv_norm(width // 2, width, 3),
            nn.AvgPool2d(2) if stem_pool == "average" else nn.MaxPool2d(3, 2, 1),
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


def round_channels(channels):
    """The nearest multiple of 8, never more than 10 % below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class MobileNetV2(Staged):
    # expansion, channels, blocks, stride; a stage's rows stand together
    ROWS = (
        ((1, 16, 1, 1), (6, 24, 2, 2)),
        ((6, 32, 3, 2),),
        ((6, 64, 4, 2), (6, 96, 3, 1)),
        ((6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def __init__(self, image_size, embed_dim, width_mult=1.0, last_stride=2):
        super().__init__()
        inputs = round_channels(32 * width_mult)
        self.stem = conv_norm(3, inputs, 3, 2, activation=nn.ReLU6)
        self.stage_channels = [round_channels(rows[-1][1] * width_mult) for rows in self.ROWS]
        stages = []
        for number, rows in enumerate(self.ROWS):
            blocks = []
            for expansion, outputs, depth, stride in rows:
                outputs = round_channels(outputs * width_mult)
                stride = last_stride if number == 3 and stride == 2 else stride
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
    def __init__(self, channels, heads, size, window, shift, activation):
        super().__init__()
        self.size, self.window, self.shift = size, window, shift
        self.block = TransformerBlock(channels, heads, activation)
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
        y = self.block.ln_1(x).view(n, self.size, self.size, channels)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        bias = self.relative_bias[self.index].permute(2, 0, 1)[None]
        if self.shift:
            bias = (bias + self.mask).repeat(n, 1, 1, 1)
        y = from_windows(self.block.attn(to_windows(y, self.window), bias), self.window, self.size)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return self.block.feed_forward(x + y.view(n, length, channels))


class SwinStage(nn.Module):
    def __init__(self, channels, depth, heads, size, window, activation):
        super().__init__()
        window = min(window, size)
        shift = window // 2 if window < size else 0
        blocks = [SwinBlock(channels, heads, size, window, i % 2 * shift, activation) for i in range(depth)]
        self.blocks = nn.Sequential(*blocks)

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
    def __init__(
        self,
        image_size,
        embed_dim,
        embed=48,
        depths=(2, 2, 6, 2),
        heads=(3, 6, 12, 24),
        window=7,
        patch=4,
        activation="quick_gelu",
    ):
        super().__init__()
        self.stage_channels = [embed * 2**i for i in range(4)]
        sizes = [image_size // patch // 2**i for i in range(4)]
        self.patch_embed = nn.Conv2d(3, embed, patch, patch)
        self.patch_norm = nn.LayerNorm(embed)
        rows = zip(self.stage_channels, depths, heads, sizes)
        self.stages = nn.ModuleList([SwinStage(*row, window, activation) for row in rows])
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
    """CLIP's text tower under open_clip's names; `<|mask|>`, if there is a row for it, is the last one."""

    def __init__(self, rows, eot_id, context_length, width, heads, layers, embed_dim, activation="quick_gelu"):
        super().__init__()
        self.eot_id = eot_id
        self.token_embedding = nn.Embedding(rows, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        blocks = [TransformerBlock(width, heads, activation) for _ in range(layers)]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))

    def forward(self, ids):
        """int64 [N, L], L at most the context length, -> (four stages [N, L, D], pooled [N, E])."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        stages, blocks = [], self.transformer["resblocks"]
        for number, block in enumerate(blocks, 1):
            x = block(x, causal=True)
            if number % (len(blocks) // 4) == 0:
                stages.append(x)
        last = self.ln_final(x)
        end = (ids == self.eot_id).int().argmax(1)
        return [*stages[:3], last], last[torch.arange(len(ids)), end] @ self.text_projection


IMAGE_ENCODERS = {
    "resnet18": (ResNet, {}),
    "mobilenet_v2": (MobileNetV2, {}),
    "swin_nano": (Swin, {}),
    "swin_tiny": (Swin, {"embed": 96}),
    "swin_small": (Swin, {"embed": 96, "depths": (2, 2, 18, 2)}),
    "swin_base": (Swin, {"embed": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)}),
}


class LightCLIP(nn.Module):
    """Both towers; `config` is the dictionary in the file's metadata, the `model` section of a configuration.

    Args:
        mask_token: whether the token table has a row for `<|mask|>`, as in training.
    """

    def __init__(self, config: dict, mask_token: bool = False):
        super().__init__()
        encoder, preset = IMAGE_ENCODERS[config["image_encoder"]]
        self.visual = encoder(config["image_size"], config["embed_dim"], **{**preset, **config["image_options"]})
        self.text = TextTransformer(
            config["vocab_size"] + mask_token,
            config["vocab_size"] - 1,
            config["context_length"],
            config["text_width"],
            config["text_heads"],
            config["text_layers"],
            config["embed_dim"],
            config.get("text_activation", "quick_gelu"),
        )
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))

    def encode_image(self, images, normalize: bool = False):
        """float32 [N, 3, S, S] -> [N, E]."""
        features = self.visual(images)[2]
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, ids, normalize: bool = False):
        """int64 [N, L] -> [N, E]."""
        features = self.text(ids)[1]
        return F.normalize(features, dim=-1) if normalize else features


def read_model(path) -> tuple[LightCLIP, dict]:
    """(the model in evaluation mode, its configuration) of a file written by `export.py --format open_clip`."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    config = json.loads(header.pop("__metadata__")["config"])
    state = {}
    for name, entry in header.items():  # safetensors, float32 only
        start, end = entry["data_offsets"]
        tensor = torch.frombuffer(data, dtype=torch.float32, count=(end - start) // 4, offset=start)
        outer = name.startswith("visual.") or name == "logit_scale"
        state[name if outer else f"text.{name}"] = tensor.reshape(entry["shape"])
    model = LightCLIP(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: missing {missing[:3]}, unexpected {unexpected[:3]}: another version of this file?")
    return model.eval(), config
