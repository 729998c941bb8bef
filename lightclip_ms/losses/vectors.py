"""Precision, row operations and shape checks shared by the losses."""

import mindspore as ms
from mindspore import Tensor, ops

EXCLUDED = 1e30  # subtracted from a score, in place of -inf: the same softmax, and no NaN from inf - inf
_TINY = 1e-24  # squared norms below it (norm 1e-12) count as zero


def promote(x):
    """float16 and bfloat16 become float32; float32 and float64 pass unchanged."""
    return x.astype(ms.float32) if x.dtype in (ms.float16, ms.bfloat16) else x


def scalar_like(value, scores):
    """A number as a scalar tensor of the dtype of `scores`: eager MindSpore rounds it to float32 beside float64 too."""
    return Tensor(value, scores.dtype) if isinstance(value, (int, float)) else value


def l2_normalize(x):
    """Scale the last axis of `x` [..., D] to length one; a zero vector stays zero and gets no gradient."""
    square = ops.sum(ops.square(x), -1, keepdim=True)
    # Products instead of `maximum` and `where`: on Ascend their gradients fill zeros on the scalar processors.
    large = (square > _TINY).astype(x.dtype)
    return x * (ops.rsqrt(square * large + (1 - large)) * large)


def log_sum_exp(scores):
    """[R, C] -> [R]. Written out: on the CPU backend log_softmax is off by 3e-6, and its gradient 2.5 times as slow."""
    largest = row_max(ops.stop_gradient(scores))
    # log1p, as the sum holds a 1: on the CPU backend the last digit of log depends on how many threads share the array,
    # which MindSpore tries out anew in every process, so that a resumed run would not be the same to the bit.
    return ops.log1p(ops.sum(ops.exp(scores - ops.expand_dims(largest, 1)), 1) - 1) + largest


def row_max(scores):
    """Maximum of each row, [R, C] -> [R]; its gradient uses int64 positions (see `largest`).

    The primitive in place of `ops.max`, which hands functions around: on them the compiler once lost its way ("Fail to
    get eval result with conf"), in one process of many with the same graph. `ops.amax` takes six times as long.
    """
    return ops.ArgMaxWithValue(axis=1)(scores)[1]


def softplus(x):
    """log(1 + exp(x)) without overflow. MindSpore's own is off by 2e-6 of its value for small ones, in float64 too."""
    size = ops.abs(x)  # its slope at 0 is 0, which leaves the right slope 1/2 for the whole
    return (x + size) / 2 + ops.log1p(ops.exp(-size))


def largest(scores):
    """Maximum of the last axis [..., C] -> [...]; of equals the first gets the gradient.

    Gathered at an int32 position: the gradient of `ops.max` uses int64 positions, which Ascend's cores do not have.
    """
    place = ops.Argmax(axis=-1, output_type=ms.int32)(ops.stop_gradient(scores))
    return ops.gather_elements(scores, -1, ops.expand_dims(place, -1)).reshape(place.shape)


def positive_mask(rows, columns, offset):
    """bool [N, G], True at each row's positive: row i, column `offset + i` (int or int tensor).

    Raises:
        ValueError: the positives do not fit the columns.
    """
    if rows > columns:
        raise ValueError(f"{rows} rows but only {columns} columns; every row needs a column for its positive")
    return ops.arange(columns).astype(ms.int32) == ops.expand_dims(ops.arange(rows).astype(ms.int32) + offset, 1)


def negative_log_likelihood(logits, positive):
    """Cross-entropy of every row with its one positive: logits [N, G], bool [N, G] -> [N]."""
    return log_sum_exp(logits) - ops.sum(ops.where(positive, logits, ops.zeros_like(logits)), 1)


def check_token_shapes(image_tokens, text_tokens, valid):
    """ValueError unless the tokens are [N, P, D] and [N, L, D] with `valid` [N, L]."""
    if image_tokens.shape[0::2] != text_tokens.shape[0::2] or valid.shape != text_tokens.shape[:2]:
        raise ValueError(
            f"tokens must be [N, P, D] and [N, L, D] with valid [N, L], got {image_tokens.shape}, "
            f"{text_tokens.shape} and {valid.shape}"
        )
