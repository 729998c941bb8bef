"""Packing of captions: what goes where, and how many rows a data set needs."""

import numpy as np
import pytest

from lightclip_ms.data.packing import caption_lengths, choose_rows, pack, pack_groups, place

L, SOT, EOT = 8, 90, 91


def captions(*words):
    """Captions of so many words, with ids that tell them apart."""
    ids = np.zeros((len(words), L), np.int32)
    for number, count in enumerate(words):
        ids[number, : count + 2] = [SOT, *range(10 * number + 1, 10 * number + count + 1), EOT]
    return ids


def unpacked(packed, count):
    """Every caption read back from its place."""
    flat = packed["packed_ids"].reshape(-1)
    starts, ends = packed["packed_starts"], packed["packed_ends"]
    return [flat[start : end + 1].tolist() for start, end in zip(starts, ends)][:count]


def test_lengths_count_sot_and_the_first_eot():
    ids = captions(0, 3, 6)
    ids[1, 6] = EOT
    assert caption_lengths(ids, EOT).tolist() == [2, 5, 8]


@pytest.mark.parametrize("words", [(0, 0, 0, 0), (6, 6), (6, 0, 4, 1, 2, 2), (3, 3, 2, 2, 2, 1, 0)])
def test_every_caption_comes_back_whole_with_its_own_segment_and_positions(words):
    ids = captions(*words)
    lengths = caption_lengths(ids, EOT)
    row, _ = place(lengths, len(ids), L)
    rows = int(row.max()) + 1
    packed = pack(ids, lengths, rows)
    assert packed["packed_ids"].shape == (rows, L)
    assert unpacked(packed, len(ids)) == [each[:length].tolist() for each, length in zip(ids, lengths)]
    assert (packed["packed_segments"] > 0).sum() == lengths.sum()
    flat_segments, flat_positions = packed["packed_segments"].reshape(-1), packed["packed_positions"].reshape(-1)
    seen = set()
    for start, end, length in zip(packed["packed_starts"], packed["packed_ends"], lengths):
        assert start // L == end // L  # a caption stays within its row
        (segment,) = set(flat_segments[start : end + 1].tolist())
        assert flat_positions[start : end + 1].tolist() == list(range(length))
        seen.add((start // L, segment))
    assert len(seen) == len(ids)  # no two captions share a segment of a row


def test_the_longest_come_first_and_ties_keep_their_order():
    row, start = place(np.array([3, 5, 3, 8, 2]), 4, L)
    assert row.tolist() == [1, 1, 2, 0, 2] and start.tolist() == [5, 0, 0, 0, 3]


def test_what_does_not_fit_gets_a_row_per_caption_in_every_group():
    ids = captions(6, 6, 0, 0)
    assert pack(ids, caption_lengths(ids, EOT), 1) is None
    packed = pack_groups([ids], EOT, 1, 2)
    assert packed["packed_ids"].shape == (4, L) and packed["packed_starts"].tolist() == [0, L, 0, L]
    assert pack_groups([ids], EOT, 2, 2)["packed_ids"].shape == (4, L)


def test_places_of_a_group_count_from_its_own_rows():
    ids = captions(1, 2, 1, 2)
    packed = pack_groups([ids, ids], EOT, 2, 2)
    assert packed["packed_ids"].shape == (4, L) and packed["packed_starts"].shape == (8,)
    assert packed["packed_starts"][:4].tolist() == packed["packed_starts"][4:].tolist()
    assert packed["packed_ends"].max() < 2 * L


LENGTHS = np.minimum(np.random.default_rng(0).geometric(0.3, 2000) + 1, L)


def share_that_fits(rows: int, batches: int = 300) -> float:
    rng = np.random.default_rng(1)
    return np.mean([place(np.tile(rng.choice(LENGTHS, 64), 2), rows, L) is not None for _ in range(batches)])


def test_rows_are_those_of_least_expected_work():
    assert choose_rows(np.full(100, 4), 16, 2, L, steps=1000) == 16  # two a row
    assert choose_rows(np.full(100, 8), 16, 2, L, steps=1000) == 32  # nothing to pack
    assert choose_rows(np.array([], int), 16, 2, L, steps=1000) == 32  # the safe number
    rows = choose_rows(LENGTHS, 64, 2, L, steps=10**5)
    assert LENGTHS.mean() / L * 128 < rows < 128 and 0.8 < share_that_fits(rows)  # most of a row is used


def test_a_short_run_gets_rows_that_every_batch_fits_into():
    short, long, paid = (
        choose_rows(LENGTHS, 64, 2, L, **run) for run in ({"steps": 300}, {"steps": 10**6}, {"steps": 300, "ranks": 2})
    )
    assert long <= paid < short < 128 and share_that_fits(short) == 1


def test_rows_grow_with_the_ranks_that_wait_for_one_another():
    """With 512 ranks that each exceed their rows in one step of a hundred, hardly a step would be packed."""
    one, many = (choose_rows(LENGTHS, 64, 2, L, steps=10**5, ranks=ranks) for ranks in (1, 512))
    assert one < many < 128
    assert share_that_fits(many, 2000) ** 512 > 0.5 > share_that_fits(one, 2000) ** 512
