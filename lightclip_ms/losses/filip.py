"""Token-wise contrast of all images and texts: FILIP (Yao et al. 2022, Eq. 4-6).

N pairs on this rank, G on all ranks, P image tokens, L text positions, D width, T tokens of either side.
"""

import mindspore as ms
from mindspore import ops

from lightclip_ms.losses.vectors import (
    EXCLUDED,
    check_token_shapes,
    l2_normalize,
    largest,
    negative_log_likelihood,
    positive_mask,
    promote,
    scalar_like,
)


def filip_loss(
    image_tokens, text_tokens, valid, logit_scale, all_image_tokens=None, all_text_tokens=None, all_valid=None, offset=0
):
    """Symmetric InfoNCE of token-wise similarities, mean over this rank's N rows.

    An image's similarity to a text is the mean over the image's tokens of the largest cosine to a word; a text's
    similarity to an image is the mean over its words of the largest cosine to an image token. A text without words
    adds 0 and no gradient: it is no query, no positive and no candidate. The mean over ranks of this loss is the loss
    of one rank with the whole batch. Memory is N * P * G * L numbers for each direction.

    Args:
        image_tokens, text_tokens: [N, P, D], [N, L, D]; normalised here.
        valid: bool [N, L], the words.
        logit_scale: 1 / temperature, a scalar tensor (already exponentiated) or a number.
        all_image_tokens, all_text_tokens, all_valid: the same of all ranks [G, P, D], [G, L, D], [G, L], rank after
            rank; default: this rank's.
        offset: column of row 0's positive, rank * N; int or int tensor.

    Returns:
        float32 scalar (float64 for float64 tokens).

    Raises:
        ValueError: the shapes do not fit.
    """
    all_image_tokens = image_tokens if all_image_tokens is None else all_image_tokens
    all_text_tokens = text_tokens if all_text_tokens is None else all_text_tokens
    all_valid = valid if all_valid is None else all_valid
    check_token_shapes(image_tokens, text_tokens, valid)
    check_token_shapes(all_image_tokens, all_text_tokens, all_valid)
    image, text = l2_normalize(promote(image_tokens)), l2_normalize(promote(text_tokens))
    all_image, all_text = l2_normalize(promote(all_image_tokens)), l2_normalize(promote(all_text_tokens))
    valid, all_valid = valid.astype(ms.bool_), all_valid.astype(ms.bool_)
    patches = ops.ones(image.shape[:2], dtype=ms.bool_)
    logit_scale = scalar_like(logit_scale, image)
    to_text = logit_scale * _similarity(image, patches, all_text, all_valid)  # [N, G], Eq. 4
    to_image = logit_scale * _similarity(text, valid, all_image, None)  # [N, G], Eq. 5
    has_words, candidates = valid.any(axis=1), all_valid.any(axis=1)
    to_text = to_text - EXCLUDED * ops.expand_dims(ops.logical_not(candidates), 0).astype(to_text.dtype)
    positive = positive_mask(to_text.shape[0], to_text.shape[1], offset)
    rows = negative_log_likelihood(to_text, positive) + negative_log_likelihood(to_image, positive)
    return ops.mean(ops.where(has_words, rows, ops.zeros_like(rows))) / 2  # Eq. 6, both directions


def _similarity(query, query_valid, keys, keys_valid):
    """Mean over the query's tokens of the largest cosine to a key's token: [N, T, D], [G, T', D] -> [N, G].

    `query_valid` bool [N, T]; `keys_valid` bool [G, T'], or None where every token counts.
    """
    (rows, tokens, width), (columns, others, _) = query.shape, keys.shape
    cosine = ops.matmul(query.reshape(-1, width), ops.transpose(keys.reshape(-1, width), (1, 0)))  # [N T, G T']
    if keys_valid is not None:
        padding = ops.logical_not(keys_valid).reshape(1, -1).astype(cosine.dtype)
        cosine = cosine - EXCLUDED * padding
    best = largest(cosine.reshape(rows, tokens, columns, others))  # [N, T, G]
    if keys_valid is not None:  # a key without tokens has no best; its column is excluded later
        best = best * keys_valid.any(axis=1).astype(best.dtype)
    weights = query_valid.astype(best.dtype)
    weights = weights / ops.maximum(ops.sum(weights, 1, keepdim=True), 1)
    return ops.sum(best * ops.expand_dims(weights, -1), 1)
