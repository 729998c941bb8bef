"""Relaxed token-level alignment of paired image and text, Eq. 10-13.

N pairs of this rank, P image tokens, L text positions, D width.
"""

import mindspore as ms
from mindspore import ops

from lightclip_ms.losses.matching import FAILED, assign_tokens
from lightclip_ms.losses.vectors import check_token_shapes, l2_normalize, promote

NORMALIZERS = ("sample", "image_tokens", "pairs")


def token_mask(ids, sot_id, eot_id):
    """True strictly between the first SOT and the first EOT of int32 ids [N, L]; bool [N, L]."""
    position = ops.arange(ids.shape[1]).astype(ms.int32)
    return ops.logical_and(position > _first(ids, sot_id), position < _first(ids, eot_id))


def token_alignment_loss(image_tokens, text_tokens, valid, normalizer="sample", box=0):
    """Cost of the best one-to-one matching between the words and patches of each pair (Eq. 10-13), in [0, 2].

    Args:
        image_tokens: [N, P, D].
        text_tokens: [N, L, D].
        valid: bool [N, L], the words. A text without words adds 0 and no gradient.
        normalizer: "sample": mean over texts with a word of (matched cost / matches); "image_tokens": sum / (N * P),
            Eq. 13 as printed; "pairs": sum / all matches. Over ranks: see `token_alignment_count`.

    Returns:
        float32 scalar (float64 for float64 tokens). NaN if a pair could not be matched; `take_matching_error` says why.

    Raises:
        ValueError: the shapes do not fit, or `normalizer` is unknown.
    """
    cost = token_costs(image_tokens, text_tokens, valid)
    return matched_loss(cost, assign_tokens(cost, valid.astype(ms.bool_), box), valid, normalizer)  # Eq. 12


def token_costs(image_tokens, text_tokens, valid):
    """1 - cosine of every word and patch of a pair (Eq. 10, 11): [N, L, P], float32 or float64.

    Arguments and errors are those of `token_alignment_loss`.
    """
    check_token_shapes(image_tokens, text_tokens, valid)
    image, text = l2_normalize(promote(image_tokens)), l2_normalize(promote(text_tokens))
    return 1 - ops.matmul(text, ops.transpose(image, (0, 2, 1)))


def matched_loss(cost, patches, valid, normalizer="sample"):
    """`token_alignment_loss` of costs [N, L, P] whose matching is known: `patches` as `assign_tokens` returns them."""
    valid = valid.astype(ms.bool_)
    # The assignment carries no gradient; the costs that it selects do.
    matched = ops.expand_dims(patches, -1) == ops.arange(cost.shape[-1]).astype(ms.int32)
    per_pair = ops.sum(ops.where(matched, cost, ops.zeros_like(cost)), (1, 2))  # [N]
    if normalizer == "sample":
        per_pair = per_pair / ops.maximum(_matches(valid, cost.shape[-1]).astype(cost.dtype), 1)
    count = token_alignment_count(valid, cost.shape[-1], normalizer).astype(cost.dtype)
    loss = ops.sum(per_pair) / ops.maximum(count, 1)  # Eq. 13
    return ops.where((patches == FAILED).any(), ops.full_like(loss, float("nan")), loss)


def token_alignment_count(valid, patches, normalizer="sample"):
    """What `token_alignment_loss` divides by, a float32 scalar: the argument of `rank_weight` for this term.

    Args:
        valid: bool [N, L], the words.
        patches: P.
    """
    if normalizer == "sample":
        return valid.any(axis=1).astype(ms.float32).sum()
    if normalizer == "pairs":
        return _matches(valid, patches).sum()
    if normalizer == "image_tokens":
        return ops.full((), float(valid.shape[0] * patches), dtype=ms.float32)
    raise ValueError(f"unknown normalizer {normalizer!r}; use one of {', '.join(NORMALIZERS)}")


def token_collapse(image_tokens):
    """Mean cosine between two different tokens of one picture, [N, P, D] -> scalar without gradient, 0 for P = 1.

    Token alignment has no negatives; near 1 all tokens of a picture have become one.
    """
    pairs = image_tokens.shape[0] * image_tokens.shape[1] * (image_tokens.shape[1] - 1)
    unit = l2_normalize(ops.stop_gradient(promote(image_tokens)))
    summed = ops.square(unit.sum(axis=1)).sum() - ops.square(unit).sum()  # all ordered pairs without the diagonal
    return summed / max(pairs, 1)


def _matches(valid, patches):
    """float32 [N]: min(P, words)."""
    return ops.minimum(valid.astype(ms.float32).sum(axis=1), float(patches))


def _first(ids, token):
    """int32 [N, 1]: position of the first `token`, 0 where there is none."""
    return ops.expand_dims(ops.Argmax(axis=1, output_type=ms.int32)((ids == token).astype(ms.float32)), 1)
