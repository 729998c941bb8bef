"""Parts that only training needs: token projection, image-to-text fusion, vocabulary heads (paper section 3.4).

Legend: N batch, L text positions, M masked slots, R rows of all slots that get logits, P image tokens, C image
channels, D text width, V vocabulary, H heads.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lightclip_ms.encoders.layers import check_heads, dense

STD = 0.02


class TokenProjection(nn.Cell):
    """Bias-free linear map of the image tokens to the text width for token alignment: [N, P, C] -> [N, P, D]."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.projection = dense(channels, width, channels**-0.5, bias=False)

    def construct(self, tokens):
        return self.projection(tokens)


class CrossAttention(nn.Cell):
    """Multi-head attention of M text tokens to P image tokens behind a 1x1 convolution: CROSS-ATT of Eq. 15.

    The queries are few and the image tokens many. So the key and value maps (composed with the convolution) act on the
    queries and on the attended mean: q (W x)' = (q W) x', by associativity the same numbers for a fraction of the work.
    Convolution and keys have no bias: softmax ignores what all keys share, and the values' bias holds the rest.

    Args:
        channels, width, heads: C, D, H.
    """

    def __init__(self, channels: int, width: int, heads: int):
        super().__init__()
        check_heads(width, heads, "cross-attention")
        self.heads = heads
        std = width**-0.5
        self.conv = dense(channels, width, channels**-0.5, bias=False)
        self.query = dense(width, width, std)
        self.key = dense(width, width, std, bias=False)
        self.value = dense(width, width, std)
        self.out = dense(width, width, std)

    def construct(self, text, image):
        """([N, M, D], [N, P, C]) -> [N, M, D]."""
        # Keys: q . (K W x) = (q K W) . x, so the composed map acts on few queries, not on many image tokens.
        n, slots, width = text.shape
        channels = image.shape[2]
        per_head = (self.heads, width // self.heads, channels)
        query = self.query(text).reshape(n * slots, self.heads, -1).transpose(1, 0, 2)  # [H, N M, D / H]
        precision = query.dtype
        image = image.astype(precision)
        key = ops.matmul(self.key.weight, self.conv.weight).reshape(per_head).astype(precision)
        query = ops.BatchMatMul()(query * per_head[1] ** -0.5, key)  # [H, N M, C]
        query = query.reshape(self.heads, n, slots, channels).transpose(1, 0, 2, 3).reshape(n, -1, channels)
        scores = ops.BatchMatMul(transpose_b=True)(query, image).astype(ms.float32)  # [N, H M, P]
        mean = ops.BatchMatMul()(ops.softmax(scores, -1).astype(precision), image).reshape(
            n, self.heads, slots, channels
        )
        mean = mean.transpose(1, 0, 2, 3).reshape(self.heads, n * slots, channels)
        # Values: the weights sum to one, so the map may act on the attended mean instead of on each token.
        value = ops.matmul(self.value.weight, self.conv.weight).reshape(per_head).astype(precision)
        context = ops.BatchMatMul(transpose_b=True)(mean, value)  # [H, N M, D / H]
        context = context.transpose(1, 0, 2).reshape(n * slots, width) + self.value.bias
        return self.out(context).reshape(text.shape)


class MaskedLanguageHeads(nn.Cell):
    """Token logits at the masked slots: from the text alone (Eq. 14), and fused with image stages 2 and 3 (Eq. 15).

    The fused branch does not feed back into the text encoder, so the masked slots are gathered first: only they are
    queries.

    Args:
        stage_channels: channels of the image encoder's four stages.
        width, heads, vocab_size: D, H, V; the mask itself is never a label.
    """

    def __init__(self, stage_channels, width: int, heads: int, vocab_size: int):
        super().__init__()
        self.attention2 = CrossAttention(stage_channels[1], width, heads)
        self.attention3 = CrossAttention(stage_channels[2], width, heads)
        self.text_head = dense(width, vocab_size, STD)
        self.fused_head = dense(2 * width, vocab_size, STD)

    def construct(self, slots, image_stages, rows):
        """Logits of some masked slots.

        Args:
            slots: outputs of text stages 2, 3 and 4 of the masked captions at the masked slots, three of [N, M, D].
            image_stages: four of [N, P_s, C_s].
            rows: int32 [R], the slots in [0, N M) to predict (`losses.vocabulary_rows`).

        Returns:
            text logits [R, V], fused logits [R, V].
        """
        # Eq. 15: text stages 2 and 3, each with what it attends to in the image stage of the same index.
        stage2 = slots[0] + self.attention2(slots[0], image_stages[1])
        stage3 = slots[1] + self.attention3(slots[1], image_stages[2])
        fused = ops.concat((stage2, stage3), -1)
        return self.text_head(_rows_of(slots[2], rows)), self.fused_head(_rows_of(fused, rows))


def pick_slots(stages, positions):
    """Stages 2, 3 and 4 of four [N, L, D] at int32 positions [N, M]: three of [N, M, D].

    Everything after this works on M positions per caption, not on L.
    """
    pick = one_hot(positions, stages[0].shape[1]).astype(stages[0].dtype)
    slots = ()
    for stage in stages[1:]:
        slots += (ops.BatchMatMul()(pick, stage),)
    return slots


def _rows_of(slots, rows):
    """[N, M, D] -> [R, D]."""
    return ops.gather(slots.reshape(-1, slots.shape[-1]), rows, 0)


def one_hot(positions, length: int):
    """int32 [N, M] -> float32 [N, M, length]; picking rows by a product has a plain product as gradient."""
    steps = Tensor(np.arange(length, dtype=np.int32))
    return ops.equal(positions.expand_dims(-1), steps).astype(ms.float32)
