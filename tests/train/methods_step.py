"""All terms of other methods in one step, plain and accumulated with packed captions: values, resuming, exports.

Run by test_methods.py in a process of its own, for the reason given in second_view.py.
"""

import dataclasses

import mindspore as ms
import numpy as np
import pytest

from lightclip_ms.model import factory
from lightclip_ms.model.weights import cell_arrays
from lightclip_ms.train.accumulate import AccumulatedStep
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.state import TrainState
from lightclip_ms.train.step import TrainStep
from tests.train.tiny_training import METHODS_LOSS, MODEL, PAIRS, QUEUE, TRAIN, packed_views_inputs, views_inputs

STEPS = 3


@pytest.fixture(scope="module")
def steps():
    """(plain, accumulated and packed) after `STEPS` steps from the same weights, each with the metrics of every step.

    Before them the state of the plain one as it was at first, and before its last step.
    """
    made = []
    for build, train in ((TrainStep, TRAIN), (AccumulatedStep, dataclasses.replace(TRAIN, accumulate=2))):
        ms.set_seed(3)
        packed = build is AccumulatedStep
        step = build(Objective(factory.create_model(MODEL), METHODS_LOSS, packed=packed), train)
        state = TrainState(step.objective, step.update)
        states, metrics = [], []
        for seed in range(STEPS):
            inputs = packed_views_inputs(seed, rows=9, groups=2) if packed else views_inputs(seed)
            states.append(state.arrays())
            metrics.append(dict(zip(step.metrics, step(*inputs).asnumpy().tolist())))
        made.append((step, metrics))
        if not packed:
            before = states[0], states[-1]
    return before, *made


def test_the_total_is_the_weighted_sum(steps):
    _, (_, metrics), _ = steps
    terms = ("instance", "token", "mlm", "filip", "siglip", "simclr", "simsiam", "multi_view", "neighbour")
    for step in metrics:
        total = sum(getattr(METHODS_LOSS, f"{name}_weight") * step[name] for name in terms)
        assert step["loss"] == pytest.approx(total, rel=1e-5)
    first = metrics[0]
    assert first["siglip_bias"] == -10 and 0 < first["token"] < 2 and first["simclr"] > 0.5


def test_neighbours_are_looked_up_before_the_batch_enters_the_queue(steps):
    _, (step, metrics), _ = steps
    assert metrics[0]["neighbour"] == pytest.approx(np.log(PAIRS), rel=1e-5) and metrics[0]["neighbour_cosine"] == 0
    assert all(0 < later["neighbour_cosine"] < 1 - 1e-4 for later in metrics[1:])
    queue = step.objective.neighbour.queue
    assert (queue.filled.asnumpy().tolist(), queue.next.asnumpy().tolist()) == ([QUEUE], [STEPS * PAIRS % QUEUE])
    assert np.abs(queue.rows.asnumpy()).max(axis=1).min() > 0


def test_a_resumed_step_repeats_the_very_numbers(steps):
    """Queue included: with that of the end the third step would find other neighbours."""
    (_, before), (step, metrics), _ = steps
    state = TrainState(step.objective, step.update)
    after = state.arrays()
    for name in ("rows", "filled", "next"):
        assert f"objective/neighbour.queue.{name}" in before
    state.load(before, "checkpoint")
    again = dict(zip(step.metrics, step(*views_inputs(STEPS - 1)).asnumpy().tolist()))
    assert again == metrics[-1]
    for name, array in state.arrays().items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


def test_accumulation_is_the_large_batch(steps):
    _, (plain, metrics), (parts, again) = steps
    for step, parts_step in zip(metrics, again, strict=True):
        for name, value in step.items():
            assert parts_step[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    expected, found = cell_arrays(plain.objective, "o"), cell_arrays(parts.objective, "o")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-3, atol=2e-5, err_msg=name)


def test_every_head_is_trained_and_saved_and_none_exported(steps):
    (before, _), (step, _), _ = steps
    after = TrainState(step.objective, step.update).arrays()
    heads = [name for name in after if name.startswith("objective/")]
    for term in ("token", "mlm", "filip", "siglip", "simclr", "simsiam", "neighbour"):
        assert any(name.startswith(f"objective/{term}.") for name in heads)
    still = [name for name in heads if np.array_equal(before[name], after[name])]
    assert still == []
    exported = cell_arrays(step.objective.model, "model")
    assert exported and all(name.split("/")[1].split(".")[0] in ("visual", "text", "logit_scale") for name in exported)
