"""Every sample once over all cards, windows of shards, and the rule for the remainder."""

import numpy as np
import pytest

from lightclip_ms.data.order import epoch_order, rank_batches, steps_per_epoch

UNEVEN = [7, 0, 31, 1, 12, 5, 44]


@pytest.mark.parametrize("window", [1, 3, 100])
def test_every_sample_once_and_every_epoch_different(window):
    orders = [epoch_order(UNEVEN, 3, epoch, window) for epoch in range(4)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(100))
    assert len({order.tobytes() for order in orders}) == 4
    np.testing.assert_array_equal(orders[2], epoch_order(UNEVEN, 3, 2, window))
    assert not np.array_equal(orders[0], epoch_order(UNEVEN, 4, 0, window))


def test_samples_mix_within_a_window_only():
    sizes = [50] * 12
    order = epoch_order(sizes, 0, 0, 4) // 50
    seen = [set(order[start : start + 200].tolist()) for start in (0, 200, 400)]
    assert [len(shards) for shards in seen] == [4, 4, 4] and set.union(*seen) == set(range(12))
    assert set(order[:20].tolist()) == seen[0]  # mixed: the first few come from all four
    assert set.union(*({frozenset(epoch_order(sizes, 0, e, 4)[:200] // 50)} for e in range(5))) != {frozenset(seen[0])}


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 4, 12])
def test_cards_share_each_global_batch_without_overlap(world, batch):
    order = epoch_order(UNEVEN, 0, 1, 3)
    parts = [rank_batches(order, batch, rank, world) for rank in range(world)]
    steps = 100 // (batch * world)
    assert {part.shape for part in parts} == {(steps, batch)} and steps == steps_per_epoch(100, batch, world)
    for step in range(steps):
        together = np.concatenate([part[step] for part in parts])
        np.testing.assert_array_equal(together, order[step * batch * world : (step + 1) * batch * world])


def test_the_dropped_remainder_changes():
    dropped = [frozenset(epoch_order([10], 0, epoch, 1)[8:].tolist()) for epoch in range(6)]
    assert len(set(dropped)) > 1


def test_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="needs 16 samples, the data set has 15"):
        steps_per_epoch(15, 2, 8)
