"""Many-to-one token alignment of paired image and text: each word takes its best patch, as FILIP's text side does.

The counterpart of `token_alignment_loss`, whose matching is one-to-one. N pairs, P image tokens, L text positions,
D width.
"""

from mindspore import ops

from lightclip_ms.losses.tokens import token_alignment_count
from lightclip_ms.losses.vectors import check_token_shapes, l2_normalize, largest, promote


def paired_max_alignment_loss(image_tokens, text_tokens, valid):
    """Mean over texts of the mean over words of the least 1 - cosine to a patch of the same pair, in [0, 2].

    Args:
        image_tokens: [N, P, D].
        text_tokens: [N, L, D].
        valid: bool [N, L], the words. A text without words adds 0 and no gradient; the mean is over the others.

    Returns:
        float32 scalar (float64 for float64 tokens). Over ranks: weigh as `token_alignment_count` of "sample" says.

    Raises:
        ValueError: the shapes do not fit.
    """
    check_token_shapes(image_tokens, text_tokens, valid)
    image, text = l2_normalize(promote(image_tokens)), l2_normalize(promote(text_tokens))
    cosine = ops.matmul(text, ops.transpose(image, (0, 2, 1)))  # [N, L, P]
    words = valid.astype(cosine.dtype)
    cost = (1 - largest(cosine)) * words  # [N, L]
    per_text = ops.sum(cost, 1) / ops.maximum(ops.sum(words, 1), 1)
    count = token_alignment_count(valid, image.shape[1], "sample").astype(cosine.dtype)
    return ops.sum(per_text) / ops.maximum(count, 1)
