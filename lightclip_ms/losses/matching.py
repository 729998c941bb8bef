"""Bipartite matching of words and image patches (Eq. 12), on the host.

N pairs, P patches, L text positions. Inside a graph it is two calls of the host: `start_matching` hands the costs to
threads and returns at once, `fetch_matching` waits for them, so that the device can work in between. A Python error
inside a compiled graph would leave that graph unusable, so neither call raises: `fetch_matching` marks the pairs, the
loss becomes NaN, and `take_matching_error` tells the training loop which pair it was.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, count

import mindspore as ms
import numpy as np
from mindspore import ops
from scipy.optimize import linear_sum_assignment

UNMATCHED = -1
FAILED = -2
_THREADS = min(4, os.cpu_count() or 1)  # SciPy solves outside the interpreter lock
_pool = ThreadPoolExecutor(_THREADS)  # kept: starting threads takes as long as matching a small batch
_boxes = count(1)  # 0 is the box of callers that name none
_tickets = count(1)
_errors = {}  # box -> its first MatchingError
_started = {}  # box -> (ticket, function that waits for its result); the last one, so that nothing piles up


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
    patches = _begin(cost.transpose(0, 2, 1), valid)()
    matches = np.zeros(cost.shape, np.float32)
    pair, word = np.nonzero(patches != UNMATCHED)
    matches[pair, patches[pair, word], word] = 1
    return matches


def assign_tokens(cost, valid, box=0):
    """`match_tokens` as one step inside a graph, without gradient: start and fetch with nothing in between.

    Args:
        cost: Tensor [N, L, P] of a static shape.
        valid: bool Tensor [N, L].
        box: where a matching and its error are kept (`open_error_box`).

    Returns:
        int32 Tensor [N, L]: the patch of a token, UNMATCHED, or FAILED in every position if a pair failed.
    """
    return fetch_matching(start_matching(cost, valid, box), valid.shape, box)


def start_matching(cost, valid, box=0):
    """Begin `assign_tokens` in threads of the host. Returns a ticket, int32 Tensor [1], which `fetch_matching` takes.

    A matching of the same box that was never fetched is forgotten.
    """
    if cost.shape[:2] != valid.shape:
        raise ValueError(f"costs [N, L, P] and valid [N, L] do not fit, got {cost.shape} and {valid.shape}")
    return ops.stop_gradient(_start_operator(cost.dtype, cost.shape, box)(ops.stop_gradient(cost), valid)[0])


def fetch_matching(ticket, shape, box=0):
    """What `assign_tokens` returns for the matching [N, L] that was started with `ticket`; waits for it."""
    return _fetch_operator(shape, box)(ticket)[0]


def open_error_box() -> int:
    """A place of its own for matchings and their errors: two objectives in one process do not see each other's."""
    return next(_boxes)


def take_matching_error(box: int = 0):
    """The first `MatchingError` of this box since the last call, or None. Call it after the step's loss was read."""
    return _errors.pop(box, None)


@ms.ops.constexpr
def _start_operator(dtype, shape, box):
    """The operator for costs of this dtype and shape [N, L, P]; made outside the graph, which cannot parse `try`."""
    if None in shape:
        # The operator copies as many rows as were declared: the others would be stale, without an error.
        raise ValueError(f"matching needs a static shape [N, L, P], got {shape}")

    def start(cost, valid):
        ticket = next(_tickets)
        try:
            _started[box] = ticket, _begin(cost, valid)
        except Exception as error:  # whatever happens, the graph must get its array; `fetch` reports it
            _started[box] = ticket, partial(_fail, error)
        return np.array([ticket], np.int32)

    return ops.PyFunc(start, [dtype, ms.bool_], [shape, shape[:2]], [ms.int32], [(1,)])


@ms.ops.constexpr
def _fetch_operator(shape, box):
    """The operator that waits for an assignment of shape [N, L]."""

    def fetch(ticket):
        try:
            started, finish = _started.pop(box, (0, None))
            if started != ticket[0]:
                raise MatchingError(f"no matching of ticket {ticket[0]} was started; the last one was {started}")
            return finish()
        except Exception as error:
            failure = error if isinstance(error, MatchingError) else MatchingError(f"matching failed: {error!r}")
            _errors.setdefault(box, failure)
            return np.full(shape, FAILED, np.int32)

    return ops.PyFunc(fetch, [ms.int32], [(1,)], [ms.int32], [shape])


def _fail(error):
    raise error


def _begin(cost, valid):
    """Start matching cost [N, L, P]; the function returned waits and gives int32 [N, L], patch of a word or UNMATCHED.

    Raises:
        MatchingError: from that function, see `match_tokens`.
    """
    # Copies: the runtime uses its buffers for other arrays once the caller has returned.
    valid = np.array(valid)
    words = cost[valid].astype(np.float64)  # [words of all pairs, P]
    # Rows of one pair are adjacent, so each problem is a slice.
    ends = list(accumulate(valid.sum(1).tolist(), initial=0))
    matched = np.full(len(words), UNMATCHED, np.int32)

    def solve(first, last):
        _check_finite(words[ends[first] : ends[last]], valid, ends[first])
        for start, end in zip(ends[first:last], ends[first + 1 :]):
            word, patch = linear_sum_assignment(words[start:end])
            if len(word) == end - start:  # the usual case, and faster: all words in order
                matched[start:end] = patch
            else:
                matched[start + word] = patch

    share = -(-len(valid) // _THREADS) or 1
    shares = [_pool.submit(solve, first, min(first + share, len(valid))) for first in range(0, len(valid), share)]

    def finish():
        for solved in shares:
            solved.result()
        patches = np.full(valid.shape, UNMATCHED, np.int32)
        patches[valid] = matched
        return patches

    return finish


def _check_finite(words, valid, place):
    """MatchingError for the first pair with a cost that is NaN or infinite, `words` being those from `place` on."""
    finite = np.isfinite(words)
    if not finite.all():
        row = int(np.nonzero(valid)[0][place : place + len(words)][~finite.all(1)][0])
        raise MatchingError(
            f"pair {row} of the batch has matching costs that are NaN or infinite: its image or text "
            "tokens are not finite",
            row,
        )
