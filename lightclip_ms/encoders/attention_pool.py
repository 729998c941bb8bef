"""Attention pooling of an image's tokens, as in CLIP's ResNets but without a positional embedding."""

from mindspore import nn, ops

from lightclip_ms.encoders.attention import Attention, merge_heads, split_heads
from lightclip_ms.encoders.layers import HEAD_CHANNELS, dense


class AttentionPool(nn.Cell):
    """The mean token is the only query; keys and values are the mean and all tokens: [N, P, D] -> [N, E].

    Only the mean token's output is ever used, so it is the only query, in training too.

    Args:
        width: D; a multiple of 64, the channels of a head.
        embed_dim: E.
    """

    def __init__(self, width: int, embed_dim: int):
        super().__init__()
        if width % HEAD_CHANNELS:
            raise ValueError(
                f"attention pooling needs a last stage of a multiple of {HEAD_CHANNELS} channels, not {width}"
            )
        self.heads = width // HEAD_CHANNELS
        self.attention = Attention()
        std = width**-0.5
        self.query = dense(width, width, std)
        self.key = dense(width, width, std)
        self.value = dense(width, width, std)
        self.out = dense(width, embed_dim, std)

    def construct(self, tokens):
        mean = tokens.mean(axis=1, keep_dims=True)
        tokens = ops.concat((mean, tokens), 1)  # [N, 1 + P, D]
        # Only the mean token's output is used, so it is the only query.
        query = split_heads(self.query(mean), self.heads)
        key = split_heads(self.key(tokens), self.heads)
        value = split_heads(self.value(tokens), self.heads)
        pooled = merge_heads(self.attention(query, key, value))
        return self.out(pooled.reshape(pooled.shape[0], -1))
