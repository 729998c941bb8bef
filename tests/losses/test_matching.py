"""The host-side matching: exact, never wrong in silence, and never fatal to the graph that calls it."""

import threading

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from scipy.optimize import linear_sum_assignment

from lightclip_ms import losses
from lightclip_ms.losses import matching
from tests.losses import oracles

rng = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def no_error_left():
    matching.take_matching_error()
    yield
    matching.take_matching_error()


def check_one_to_one(matches, valid):
    """0/1, at most one per row and column, min(P, words) in all, none outside the words."""
    assert matches.dtype == np.float32 and set(np.unique(matches)) <= {0, 1}
    assert matches.sum(1).max() <= 1 and matches.sum(2).max() <= 1
    assert not matches.transpose(0, 2, 1)[~valid].any()
    np.testing.assert_array_equal(matches.sum((1, 2)), np.minimum(matches.shape[1], valid.sum(1)))


@pytest.mark.parametrize("patches, length", [(1, 5), (3, 6), (5, 4), (6, 3)])
def test_least_cost_of_all_permutations(patches, length):
    cost = rng.uniform(0, 2, (40, patches, length)).astype(np.float32)
    valid = rng.uniform(size=(40, length)) < 0.6  # also words with gaps, one word, no word
    valid[0], valid[1] = False, True
    matches = losses.match_tokens(cost, valid)
    check_one_to_one(matches, valid)
    for pair, wanted in enumerate(valid):
        best = oracles.best_matching_cost(cost[pair][:, wanted].astype(float)) if wanted.any() else 0
        assert (cost[pair].astype(float) * matches[pair]).sum() == pytest.approx(best, rel=1e-12)


def test_full_size_equals_scipy_pair_by_pair():
    cost = (1 - rng.uniform(-0.3, 0.9, (64, 49, 77))).astype(np.float32)
    valid = np.arange(77) < rng.integers(0, 77, (64, 1))
    matches = losses.match_tokens(cost, valid)
    check_one_to_one(matches, valid)
    for pair in range(64):
        words = cost[pair][:, valid[pair]]
        rows, columns = linear_sum_assignment(words)
        assert (cost[pair] * matches[pair]).sum() == pytest.approx(words[rows, columns].sum(), rel=1e-6)


def test_ties_still_match_every_word():
    valid = np.array([[True, True, True, False]])
    matches = losses.match_tokens(np.ones((1, 5, 4), np.float32), valid)
    check_one_to_one(matches, valid)


def test_strided_input_and_no_word_at_all():
    cost = np.asfortranarray(rng.uniform(size=(3, 4, 5)))
    valid = np.ones((3, 5), bool)
    np.testing.assert_array_equal(losses.match_tokens(cost, valid), losses.match_tokens(cost.copy("C"), valid))
    assert not losses.match_tokens(cost, ~valid).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_costs_name_the_pair(bad):
    cost = rng.uniform(size=(4, 3, 5))
    valid = np.array([[True, True, False, False, False]] * 4)
    cost[1, 2, 4] = bad  # not a word: no harm
    check_one_to_one(losses.match_tokens(cost, valid), valid)
    cost[2, 1, 0] = bad
    with pytest.raises(losses.MatchingError, match="pair 2 of the batch") as caught:
        losses.match_tokens(cost, valid)
    assert caught.value.row == 2


def test_wrong_shapes():
    with pytest.raises(losses.MatchingError, match="got .3, 4, 5. and .2, 5."):
        losses.match_tokens(np.zeros((3, 4, 5)), np.ones((2, 5), bool))


def loss_of(tokens, words, valid):
    return losses.token_alignment_loss(tokens, words, valid)


def token_batch(pairs):
    return [Tensor(rng.normal(size=(pairs, size, 6)).astype(np.float32)) for size in (4, 5)] + [
        Tensor(np.ones((pairs, 5), bool))
    ]


def test_nan_stops_clearly_and_the_graph_survives():
    step = ms.jit(ms.value_and_grad(loss_of, grad_position=(0, 1)))
    tokens, words, valid = token_batch(3)
    good = step(tokens, words, valid)[0].asnumpy()
    assert np.isfinite(good) and losses.take_matching_error() is None
    broken = tokens.asnumpy().copy()
    broken[1, 2, 3] = np.nan
    assert np.isnan(step(Tensor(broken), words, valid)[0].asnumpy())
    error = losses.take_matching_error()
    assert error.row == 1 and "pair 1 of the batch" in str(error)
    assert losses.take_matching_error() is None
    assert step(tokens, words, valid)[0].asnumpy() == good


def test_any_failure_inside_the_operator_is_reported(monkeypatch):
    def broken(*_):
        raise MemoryError("no room")

    step = ms.jit(loss_of)
    batch = token_batch(2)
    assert np.isfinite(step(*batch).asnumpy())
    monkeypatch.setattr(matching, "linear_sum_assignment", broken)
    assert np.isnan(step(*batch).asnumpy())
    assert "MemoryError('no room')" in str(losses.take_matching_error())


def test_a_smaller_batch_leaves_no_stale_rows():
    step = ms.jit(loss_of)
    tokens, words, valid = token_batch(6)
    step(tokens, words, valid)
    whole = [
        oracles.token_alignment_loss(
            *[part.asnumpy().astype(kind)[rows] for part, kind in zip((tokens, words, valid), (float, float, bool))],
            "sample",
        )
        for rows in (slice(0, 2), slice(2, 6))
    ]
    assert step(tokens[:2], words[:2], valid[:2]).asnumpy() == pytest.approx(whole[0], rel=1e-5)
    assert step(tokens[2:], words[2:], valid[2:]).asnumpy() == pytest.approx(whole[1], rel=1e-5)


class Assign(nn.Cell):
    def construct(self, cost, valid):
        return matching.assign_tokens(cost, valid)


def test_dynamic_shapes_are_refused():
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        net = Assign()
        net.set_inputs(Tensor(shape=[None, 5, 4], dtype=ms.float32), Tensor(shape=[None, 5], dtype=ms.bool_))
        with pytest.raises(ValueError, match="static shape"):
            net(ops.zeros((2, 5, 4), ms.float32), ops.ones((2, 5), ms.bool_))
    finally:
        ms.set_context(mode=mode)


def test_the_host_is_called_once_a_step(monkeypatch):
    calls = []
    begin = matching._begin
    monkeypatch.setattr(matching, "_begin", lambda cost, valid: calls.append(cost.shape) or begin(cost, valid))
    ms.jit(ms.value_and_grad(loss_of, grad_position=(0, 1)))(*token_batch(3))[0].asnumpy()
    assert calls == [(3, 5, 4)]


def started_loss(tokens, words, valid, box):
    """Everything up to the start of the matching: what a step leaves behind that ends there."""
    return losses.start_matching(losses.token_costs(tokens, words, valid), valid, box)


def fetched(ticket, valid, box):
    return losses.fetch_matching(ticket, valid.shape, box)


def test_start_returns_before_the_matching_ends_and_fetch_waits(monkeypatch):
    may_solve, solver = threading.Event(), matching.linear_sum_assignment
    monkeypatch.setattr(matching, "linear_sum_assignment", lambda cost: may_solve.wait(60) and solver(cost))
    start, fetch = ms.jit(started_loss), ms.jit(fetched)
    tokens, words, valid = token_batch(3)
    box = losses.open_error_box()
    ticket = start(tokens, words, valid, box)
    assert ticket.asnumpy() > 0  # the graph has ended, though no row is solved
    threading.Timer(0.1, may_solve.set).start()
    patches = fetch(ticket, valid, box).asnumpy()
    cost = losses.token_costs(tokens, words, valid).asnumpy().transpose(0, 2, 1)
    matches = losses.match_tokens(cost, valid.asnumpy())
    np.testing.assert_array_equal(patches, np.where(matches.any(1), matches.argmax(1), matching.UNMATCHED))
    assert box not in matching._started and losses.take_matching_error(box) is None


def test_nothing_is_left_of_a_step_that_ended_between_start_and_fetch():
    start, fetch = ms.jit(started_loss), ms.jit(fetched)
    tokens, words, valid = token_batch(3)
    box = losses.open_error_box()
    before = len(matching._started)
    abandoned, ticket = start(tokens, words, valid, box), start(tokens, words, valid, box)
    assert len(matching._started) == before + 1  # the last one only
    assert (fetch(ticket, valid, box).asnumpy() >= 0).any() and len(matching._started) == before
    assert (fetch(abandoned, valid, box).asnumpy() == matching.FAILED).all()
    assert "no matching of ticket" in str(losses.take_matching_error(box))
