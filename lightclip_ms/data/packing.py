"""Captions side by side in rows of the context length, so that the text encoder computes no padding.

Legend: K captions, L context length, R rows. A row holds several captions, each a segment; attention stays within a
segment, so the numbers are those of one caption per row, to rounding. Shapes are static: R is fixed for a run. A batch
that does not fit is laid out with one caption per row, for which there is a second graph.
"""

import math

import numpy as np
from scipy import special

_SIMULATED, _PLACED = 2048, 1 << 18  # batches that are simulated at most, and captions in all
_NEARLY_NORMAL, _NEARLY_CERTAIN = 0.02, 1 - 1e-9  # skewness; probability
# The text encoder's work on so many batches with a row per caption takes as long as compiling: about 100 of the demo's,
# a dozen of a paper model's on a CPU.
_COMPILATION = 100


def caption_lengths(ids: np.ndarray, eot_id: int) -> np.ndarray:
    """Tokens of each caption, SOT and the first EOT included: int [K] of int32 ids [K, L]."""
    return (ids == eot_id).argmax(axis=1) + 1


def place(lengths: np.ndarray, rows: int, context_length: int) -> tuple[np.ndarray, np.ndarray] | None:
    """First-fit decreasing: the longest caption first, each into the first row with room; ties in order.

    Returns:
        (row, first position) of every caption, int [K] both; None if they do not fit into `rows` rows.
    """
    free = np.full(rows, context_length)
    row, start = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    for caption in np.argsort(-lengths, kind="stable"):
        fitting = free >= lengths[caption]
        chosen = int(fitting.argmax())
        if not fitting[chosen]:
            return None
        row[caption], start[caption] = chosen, context_length - free[chosen]
        free[chosen] -= lengths[caption]
    return row, start


def rows_needed(lengths: np.ndarray, context_length: int) -> int:
    """The fewest rows into which `place` puts the captions."""
    return int(place(lengths, len(lengths), context_length)[0].max()) + 1


def pack(ids: np.ndarray, lengths: np.ndarray, rows: int) -> dict[str, np.ndarray] | None:
    """Pack captions into rows.

    Args:
        ids: int32 [K, L]; lengths: int [K].
        rows: R; K or more puts each caption into a row of its own.

    Returns:
        packed_ids, packed_segments (1, 2, ... within a row, 0 for what is unused), packed_positions (within the
        caption): int32 [R, L]; packed_starts, packed_ends: int32 [K], places of SOT and EOT among the R * L; None if
        the captions do not fit.
    """
    count, length = ids.shape
    if rows >= count:
        row, start = np.arange(count), np.zeros(count, np.int64)
    else:
        placed = place(lengths, rows, length)
        if placed is None:
            return None
        row, start = placed
    packed = {
        name: np.zeros((rows, length), np.int32) for name in ("packed_ids", "packed_segments", "packed_positions")
    }
    # Captions of a row by where they start: their number is the segment.
    order = np.lexsort((start, row))
    segment = np.zeros(count, np.int64)
    segment[order] = np.arange(count) - np.searchsorted(row[order], row[order]) + 1
    starts = row * length + start
    caption = np.repeat(np.arange(count), lengths)  # of each token
    position = np.arange(len(caption)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = starts[caption] + position
    packed["packed_ids"].reshape(-1)[places] = ids[caption, position]
    packed["packed_segments"].reshape(-1)[places] = segment[caption]
    packed["packed_positions"].reshape(-1)[places] = position
    packed["packed_starts"], packed["packed_ends"] = starts.astype(np.int32), (starts + lengths - 1).astype(np.int32)
    return packed


def pack_groups(ids: list[np.ndarray], eot_id: int, rows: int, groups: int) -> dict[str, np.ndarray]:
    """Pack the captions of a batch: clean, masked and further ones, each int32 [N, L], group by group.

    With accumulation a group is one part of the batch: it has `rows` rows of its own, and its places count from them.
    A batch with a group that does not fit has one row per caption in every group.
    """
    size = len(ids[0]) // groups
    parts = [np.concatenate([each[start : start + size] for each in ids]) for start in range(0, size * groups, size)]
    lengths = [caption_lengths(part, eot_id) for part in parts]
    packed = [pack(part, sizes, rows) for part, sizes in zip(parts, lengths)]
    if any(part is None for part in packed):
        packed = [pack(part, sizes, len(part)) for part, sizes in zip(parts, lengths)]
    return {name: np.concatenate([part[name] for part in packed]) for name in packed[0]}


def choose_rows(
    lengths: np.ndarray,
    pairs: int,
    copies: int,
    context_length: int,
    *,
    steps: int,
    ranks: int = 1,
    groups: int = 1,
    seed: int = 0,
) -> int:
    """R for batches of `pairs` pairs whose captions come `copies` times (clean, masked, ...).

    The R of least expected work. A batch that does not fit costs a row per caption, and all ranks wait for it; the
    first one costs a compilation. So a short run gets an R that all of its batches should fit into, a long one an R
    that a few in a hundred steps exceed.

    Args:
        lengths: int [S], of a sample of the data set's captions; empty gives the safe number, a row per caption.
        steps: of the run.
        ranks: of the run; several compile the second graph anyway, before the first step.
        groups: parts of a rank's batch that are packed each by itself.
    """
    captions = pairs * copies
    if not len(lengths):
        return captions
    rng = np.random.default_rng(seed)
    needed = np.empty(max(16, min(_SIMULATED, _PLACED // captions)), np.int64)
    for batch in range(len(needed)):
        needed[batch] = rows_needed(np.tile(rng.choice(lengths, pairs), copies), context_length)
    choices = np.arange(needed.min(), captions + 1)
    # What hundreds of ranks meet is too rare to be simulated: a gamma distribution of the same mean, deviation and
    # skewness has the tail. The mean of the sample of S lengths is off, too.
    deviation = max(needed.std() * math.sqrt(1 + pairs / len(lengths)), 1e-9)
    skewness = max(((needed - needed.mean()) ** 3).mean() / deviation**3, _NEARLY_NORMAL)
    shape = (2 / skewness) ** 2
    away = (choices + 0.5 - needed.mean()) / deviation
    exceeding = special.gammaincc(shape, np.maximum(shape + away * math.sqrt(shape), 0))
    exceeding[-1] = 0.0  # a row per caption
    all_fit = ranks * groups * np.log1p(-np.minimum(exceeding, _NEARLY_CERTAIN))
    exceeded, ever = -np.expm1(all_fit), -np.expm1(steps * all_fit)
    work = steps * (choices + (captions - choices) * exceeded)
    if ranks == 1:
        work += _COMPILATION * captions * ever
    return int(choices[np.argmin(work)])
