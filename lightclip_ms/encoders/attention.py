"""Scaled dot-product attention over heads.

Legend: N batch, L sequence length, D width, H heads, C = D / H channels of a head.
"""

import mindspore as ms
from mindspore import nn, ops


def split_heads(x, heads: int):
    """[N, L, D] -> [N, H, L, C]."""
    n, length, width = x.shape
    return x.reshape(n, length, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x):
    """[N, H, L, C] -> [N, L, D]."""
    n, heads, length, channels = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, length, heads * channels)


class Attention(nn.Cell):
    """softmax(query key' / sqrt(C) + bias) value; softmax in float32 whatever the inputs are."""

    def __init__(self):
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_nt = ops.BatchMatMul(transpose_b=True)

    def split(self, x, heads: int):
        """[N, L, D] -> [N, H, L, C]."""
        return split_heads(x, heads)

    def merge(self, x):
        """[N, H, L, C] -> [N, L, D]."""
        return merge_heads(x)

    def construct(self, query, key, value, bias=None):
        """Attend.

        Args:
            query: [N, H, Lq, C]; key, value: [N, H, Lk, C].
            bias: None or [B, H, Lq, Lk], where B divides N and repeats along it, and 1 may stand for H.

        Returns:
            [N, H, Lq, C].
        """
        scores = self.product_nt(query * query.shape[-1] ** -0.5, key)
        if bias is not None:  # repeats along N: window after window, or the same causal mask for all
            shape = scores.shape
            scores = (scores.reshape(-1, bias.shape[0], *shape[1:]) + bias).reshape(shape)
        weights = ops.softmax(scores.astype(ms.float32), -1).astype(value.dtype)
        return self.product(weights, value)
