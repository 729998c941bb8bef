"""Bipartite matching of words and image patches (Eq. 12), on the host.

N pairs, P patches, L text positions. A Python error inside a compiled graph would leave that graph unusable, so
`assign_tokens`, the part that the graph calls, never raises: it marks the pair, the loss becomes NaN, and
`take_matching_error` tells the training loop which pair it was.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, count

import mindspore as ms
import numpy as np
from mindspore import ops
from scipy.optimize import linear_sum_assignment

UNMATCHED = -1
FAILED = -2
_THREADS = min(4, os.cpu_count() or 1)  # SciPy solves outside the interpreter lock
_boxes = count(1)  # 0 is the box of callers that name none
_errors = {}  # box -> its first MatchingError


class MatchingError(ValueError):
    """The costs of a pair cannot be matched; `row` is its row in this card's batch."""

    def __init__(self, message, row=None):
        super().__init__(message)
        self.row = row


def match_tokens(cost, valid):
    """One-to-one matching of least total cost on the valid columns of every pair.

    Args:
        cost: numpy [N, P, L].
        valid: numpy bool [N, L], the columns that are words; the others are never matched.

    Returns:
        float32 [N, P, L], 1 where patch and word are matched: min(P, words) ones a pair.

    Raises:
        MatchingError: a cost of a valid column is NaN or infinite, or the shapes do not fit.
    """
    cost, valid = np.asarray(cost), np.asarray(valid, bool)
    if cost.ndim != 3 or valid.shape != (cost.shape[0], cost.shape[2]):
        raise MatchingError(f"cost must be [N, P, L] and valid [N, L], got {cost.shape} and {valid.shape}")
    patches = _solve(cost.transpose(0, 2, 1), valid)
    matches = np.zeros(cost.shape, np.float32)
    pair, word = np.nonzero(patches != UNMATCHED)
    matches[pair, patches[pair, word], word] = 1
    return matches


def assign_tokens(cost, valid, box=0):
    """`match_tokens` as one operator inside a graph, without gradient.

    Args:
        cost: Tensor [N, L, P] of a static shape.
        valid: bool Tensor [N, L].
        box: where an error is kept (`open_error_box`).

    Returns:
        int32 Tensor [N, L]: the patch of a token, UNMATCHED, or FAILED in every position if a pair failed.
    """
    if cost.shape[:2] != valid.shape:
        raise ValueError(f"costs [N, L, P] and valid [N, L] do not fit, got {cost.shape} and {valid.shape}")
    return _host_operator(cost.dtype, cost.shape, box)(ops.stop_gradient(cost), valid)[0]


def open_error_box() -> int:
    """A place of its own for matching errors, so that two objectives in one process do not see each other's."""
    return next(_boxes)


def take_matching_error(box: int = 0):
    """The first `MatchingError` of this box since the last call, or None. Call it after the step's loss was read."""
    return _errors.pop(box, None)


@ms.ops.constexpr
def _host_operator(dtype, shape, box):
    """The operator for costs of this dtype and shape [N, L, P]; made outside the graph, which cannot parse `try`."""
    if None in shape:
        # The operator copies as many rows as were declared: the others would be stale, without an error.
        raise ValueError(f"matching needs a static shape [N, L, P], got {shape}")

    def solve_or_mark(cost, valid):
        try:
            return _solve(cost, valid)
        except Exception as error:  # whatever happens, the graph must get its array
            failure = error if isinstance(error, MatchingError) else MatchingError(f"matching failed: {error!r}")
            _errors.setdefault(box, failure)
            return np.full(valid.shape, FAILED, np.int32)

    return ops.PyFunc(solve_or_mark, [dtype, ms.bool_], [shape, shape[:2]], [ms.int32], [shape[:2]])


def _solve(cost, valid):
    """int32 [N, L], the patch of every word or UNMATCHED, of cost [N, L, P]."""
    words = cost[valid].astype(np.float64)  # [words of all pairs, P]
    if not np.isfinite(words).all():
        row = int(np.nonzero(valid)[0][~np.isfinite(words).all(1)][0])
        raise MatchingError(
            f"pair {row} of the batch has matching costs that are NaN or infinite: its image or text "
            "tokens are not finite",
            row,
        )
    # Rows of one pair are adjacent, so each problem is a slice.
    ends = list(accumulate(valid.sum(1).tolist(), initial=0))
    matched = np.full(len(words), UNMATCHED, np.int32)

    def solve(ends):
        for start, end in zip(ends, ends[1:]):
            word, patch = linear_sum_assignment(words[start:end])
            if len(word) == end - start:  # the usual case, and faster: all words in order
                matched[start:end] = patch
            else:
                matched[start + word] = patch

    share = -(-len(valid) // _THREADS)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(solve, [ends[first : first + share + 1] for first in range(0, len(valid), share)]))
    patches = np.full(valid.shape, UNMATCHED, np.int32)
    patches[valid] = matched
    return patches
