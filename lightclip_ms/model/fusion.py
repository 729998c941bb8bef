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
    """Token logits at the masked slots: from the text alone (Eq. 14), and fused with the image at some stages (Eq. 15).

    The fused branch does not feed back into the text encoder, so the masked slots are gathered first: only they are
    queries.

    Args:
        stage_channels: channels of the image encoder's four stages.
        width, heads, vocab_size: D, H, V; the mask itself is never a label.
        fused_stages: stages, of 1 to 4, that see the image, the paper's by default; none: no fused head.
    """

    def __init__(self, stage_channels, width: int, heads: int, vocab_size: int, fused_stages: tuple[int, ...] = (2, 3)):
        super().__init__()
        self.fused_stages = fused_stages
        attentions = [CrossAttention(stage_channels[stage - 1], width, heads) for stage in fused_stages]
        for stage, attention in zip(fused_stages, attentions):
            setattr(self, f"attention{stage}", attention)  # so that its parameters are named after its stage
        self.attentions = tuple(attentions)
        self.text_head = dense(width, vocab_size, STD)
        if fused_stages:
            self.fused_head = dense(len(fused_stages) * width, vocab_size, STD)

    def construct(self, slots, image_stages, rows):
        """Logits of some masked slots.

        Args:
            slots: outputs of the text stages of the masked captions at the masked slots, four of [N, M, D].
            image_stages: four of [N, P_s, C_s].
            rows: int32 [R], the slots in [0, N M) to predict (`losses.vocabulary_rows`).

        Returns:
            (text logits [R, V], fused logits [R, V]), or the first alone.
        """
        # Eq. 15: text stages, each with what it attends to in the image stage of the same index.
        fused = ()
        for index, stage in enumerate(self.fused_stages):
            text = slots[stage - 1]
            fused += (text + self.attentions[index](text, image_stages[stage - 1]),)
        text_logits = self.text_head(_rows_of(slots[3], rows))
        if not fused:
            return (text_logits,)
        return text_logits, self.fused_head(_rows_of(ops.concat(fused, -1), rows))


def pick_slots(stages, positions):
    """Four stages [N, L, D] at int32 positions [N, M]: four of [N, M, D].

    Everything after this works on M positions per caption, not on L.
    """
    pick = one_hot(positions, stages[0].shape[1]).astype(stages[0].dtype)
    slots = ()
    for stage in stages:
        slots += (ops.BatchMatMul()(pick, stage),)
    return slots


def _rows_of(slots, rows):
    """[N, M, D] -> [R, D]."""
    return ops.gather(slots.reshape(-1, slots.shape[-1]), rows, 0)


def one_hot(positions, length: int):
    """int32 [N, M] -> float32 [N, M, length]; picking rows by a product has a plain product as gradient."""
    steps = Tensor(np.arange(length, dtype=np.int32))
    return ops.equal(positions.expand_dims(-1), steps).astype(ms.float32)
