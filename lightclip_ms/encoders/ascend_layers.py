"""Forms of layers for Ascend's fused kernels; `layers` chooses."""

import mindspore as ms
from mindspore import ops

from lightclip_ms.encoders import attention

HEAD_MULTIPLE, MOST_CHANNELS, MOST_ROWS = 16, 512, 2048  # what MindSpore documents for the kernel


class MaskedAttention(attention.Attention):
    """Attention whose bias only masks, by `ops.flash_attention_score`: no [N, H, L, L] scores are kept.

    The kernel is for half precision and sequences that attend to themselves; all else takes the plain operators.
    """

    def construct(self, query, key, value, bias):
        """As `Attention.construct`; `bias` is 0 or so negative that softmax gives 0, one for all heads."""
        if not _fits(query, key, bias):
            return super().construct(query, key, value, bias)
        masked = bias < 0  # 1 is what the kernel leaves out
        if bias.shape[0] == 1:
            masked = masked.reshape(bias.shape[2:])  # [L, L]; else [N, 1, L, L]
        return ops.flash_attention_score(
            query,
            key,
            value,
            query.shape[1],
            attn_mask=masked,
            scalar_value=query.shape[-1] ** -0.5,
            input_layout="BNSD",
            sparse_mode=1,  # the mask is given whole
        )


def _fits(query, key, bias) -> bool:
    rows, _, length, channels = query.shape
    return (
        query.dtype in (ms.float16, ms.bfloat16)
        and length == key.shape[2]
        and bias.shape[0] in (1, rows)
        and bias.shape[1] == 1
        and channels % HEAD_MULTIPLE == 0
        and channels <= MOST_CHANNELS
        and rows <= MOST_ROWS
    )
