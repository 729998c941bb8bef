"""All terms of other methods in one step, plain and accumulated: values, checkpoints, exported models.

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
from tests.train.tiny_training import METHODS_LOSS, MODEL, TRAIN, views_inputs


@pytest.fixture(scope="module")
def steps():
    """(plain, accumulated) after one step from the same weights, each with the metrics of that step."""
    made = []
    for build, train in ((TrainStep, TRAIN), (AccumulatedStep, dataclasses.replace(TRAIN, accumulate=2))):
        ms.set_seed(3)
        step = build(Objective(factory.create_model(MODEL), METHODS_LOSS), train)
        if build is TrainStep:
            before = TrainState(step.objective, step.update).arrays()
        made.append((step, dict(zip(step.metrics, step(*views_inputs()).asnumpy().tolist()))))
    return before, *made


def test_the_total_is_the_weighted_sum(steps):
    _, (_, metrics), _ = steps
    terms = ("instance", "token", "mlm", "filip", "siglip", "simclr")
    total = sum(getattr(METHODS_LOSS, f"{name}_weight") * metrics[name] for name in terms)
    assert metrics["loss"] == pytest.approx(total, rel=1e-5)
    assert metrics["siglip_bias"] == -10 and 0 < metrics["token"] < 2 and metrics["simclr"] > 0.5


def test_accumulation_is_the_large_batch(steps):
    _, (plain, metrics), (parts, again) = steps
    for name, value in metrics.items():
        assert again[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    expected, found = cell_arrays(plain.objective, "o"), cell_arrays(parts.objective, "o")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-3, atol=2e-5, err_msg=name)


def test_every_head_is_trained_and_saved_and_none_exported(steps):
    before, (step, _), _ = steps
    after = TrainState(step.objective, step.update).arrays()
    heads = [name for name in after if name.startswith("objective/")]
    for term in ("token", "mlm", "filip", "siglip", "simclr"):
        assert any(name.startswith(f"objective/{term}.") for name in heads)
    still = [name for name in heads if np.array_equal(before[name], after[name])]
    assert still == []
    exported = cell_arrays(step.objective.model, "model")
    assert exported and all(name.split("/")[1].split(".")[0] in ("visual", "text", "logit_scale") for name in exported)
