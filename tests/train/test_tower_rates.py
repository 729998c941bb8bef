"""Learning rates of the towers' own, against runs without them."""

import dataclasses

import numpy as np
import pytest

from lightclip_ms.model.weights import cell_arrays
from lightclip_ms.train.state import TrainState
from tests.train.tiny_training import TRAIN, build_step, step_inputs


@pytest.fixture(scope="module")
def movements():
    """What one step adds to each parameter, without and with rates of the towers; and what is saved of each run."""
    moved, saved = {}, {}
    for rates in ((0.0, 0.0), (TRAIN.lr / 8, TRAIN.lr / 2)):
        train = dataclasses.replace(TRAIN, image_lr=rates[0], text_lr=rates[1])
        step = build_step(0, 1, train=train)
        before = cell_arrays(step.objective, "parameters")
        step(*step_inputs())
        after = cell_arrays(step.objective, "parameters")
        moved[rates] = {name.removeprefix("parameters/"): after[name] - before[name] for name in before}
        saved[rates] = TrainState(step.objective, step.update).arrays()
    return list(moved.values()), list(saved.values())


@pytest.mark.parametrize("tower, factor", [("model.visual.", 1 / 8), ("model.text.", 1 / 2), ("", 1)])
def test_a_tower_moves_by_its_share(movements, tower, factor):
    (plain, own), _ = movements
    names = [
        name
        for name in plain
        if (name.startswith(tower) if tower else not name.startswith(("model.visual.", "model.text.")))
    ]
    assert names
    for name in names:
        # decay included; what is left is rounding of parameters that the movement was taken from
        np.testing.assert_allclose(own[name], factor * plain[name], atol=1e-6, err_msg=name)


def test_checkpoints_hold_every_array_once(movements):
    _, (plain, own) = movements
    size = sum(array.nbytes for array in plain.values())
    assert abs(sum(array.nbytes for array in own.values()) - size) < 1000  # counters of the further optimizers
