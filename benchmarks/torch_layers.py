"""Layers of the PyTorch yardstick. N batch, P image tokens, L sequence length, D width."""

import torch
import torch.nn as nn
import torch.nn.functional as F


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


class TransformerBlock(nn.Module):
    """Pre-LN block with QuickGELU."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def attention(self, x, mask=None, causal=False):
        return self.out(attend(*self.qkv(x).chunk(3, -1), self.heads, mask, causal))

    def mlp(self, x):
        hidden = self.expand(self.norm2(x))
        return x + self.contract(hidden * torch.sigmoid(1.702 * hidden))

    def forward(self, x, causal=False):
        return self.mlp(x + self.attention(self.norm1(x), causal=causal))


class AttentionPool(nn.Module):
    """The mean token asks, the mean and all tokens answer: [N, P, D] -> [N, E]."""

    def __init__(self, width, embed_dim):
        super().__init__()
        self.heads = width // 64
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, embed_dim)

    def forward(self, tokens):
        mean = tokens.mean(1, keepdim=True)
        tokens = torch.cat((mean, tokens), 1)
        return self.out(attend(self.query(mean), self.key(tokens), self.value(tokens), self.heads)[:, 0])
