"""Accumulation over parts equals the step with the whole batch, contrastive negatives included."""

import dataclasses

import numpy as np

from lightclip_ms.config.schema import LossConfig
from lightclip_ms.model.weights import cell_arrays, load_cell
from lightclip_ms.train.accumulate import AccumulatedStep
from tests.train.tiny_training import METRICS, PAIRS, TRAIN, build_step, step_inputs

PARTS = 4


def test_parts_train_the_weights_of_the_whole_batch():
    whole = build_step(0, 1)
    parts = AccumulatedStep(build_step(0, 1).objective, dataclasses.replace(TRAIN, accumulate=PARTS))
    load_cell(parts.objective, "same", cell_arrays(whole.objective, "same"), "start")
    for seed in range(3):
        inputs = step_inputs(seed, phase=2)
        expected, actual = whole(*inputs).asnumpy(), parts(*inputs).asnumpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, err_msg=str(METRICS))
    assert [len(cell.compile_cache) for cell in parts._cells] == [1, 1, 1, 1]  # no batch compiles anew
    trained = cell_arrays(parts.objective, "w")
    for name, weights in cell_arrays(whole.objective, "w").items():
        assert np.abs(trained[name] - weights).max() <= 1e-5 * max(np.abs(weights).max(), 1e-2), name


def test_plain_accumulation_would_train_another_loss():
    """The instance loss of the parts is not that of the whole, so the test above can fail."""
    step = build_step(0, 1, LossConfig(token_weight=0.0, mlm_weight=0.0, instance_weight=1.0))
    size = PAIRS // 2
    halves = [step(*step_inputs(lr=0.0, rows=slice(start, start + size))).asnumpy()[0] for start in (0, size)]
    whole = step(*step_inputs(lr=0.0)).asnumpy()[0]
    assert abs(np.mean(halves) - whole) > 0.05
