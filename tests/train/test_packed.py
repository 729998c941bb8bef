"""Packed captions train the same weights: losses, gradients and features equal those of one caption per row."""

import dataclasses

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from lightclip_ms.model.weights import cell_arrays, load_cell
from lightclip_ms.train.accumulate import AccumulatedStep
from tests.train.tiny_training import METRICS, TRAIN, build_step, packed_inputs, step_inputs


class Gradients(nn.Cell):
    """Metrics and gradients of one batch, without an update."""

    def __init__(self, step):
        super().__init__()
        self.value_and_grad = step.value_and_grad

    def construct(self, phase, *arrays):
        (_, values), gradients = self.value_and_grad(arrays, phase)
        return values, gradients


def gradients_of(step, inputs):
    values, gradients = Gradients(step)(inputs[0], *inputs[3:])
    return values.asnumpy(), [gradient.asnumpy() for gradient in gradients]


def assert_close(actual, expected, relative):
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        scale = max(np.abs(other).max(), 1e-3)
        assert np.abs(one - other).max() <= relative * scale, number


def test_losses_and_gradients_are_those_of_one_caption_per_row():
    """Captions of 0 to 7 words, empty ones among them; in 8 rows of 16, a row full to its last position, and in 16."""
    plain, packed = build_step(0, 1), build_step(0, 1, packed=True)
    load_cell(packed.objective, "same", cell_arrays(plain.objective, "same"), "start")
    for phase in (0, 2):
        expected = gradients_of(plain, step_inputs(phase=phase))
        inputs = packed_inputs(rows=8, phase=phase)
        segments = inputs[3 + packed.objective.parts.index("packed_segments")].asnumpy()
        assert segments.shape[0] == 8 and (segments > 0).all(axis=1).any() and segments.max() >= 2
        for rows in (8, 16):
            values, gradients = gradients_of(packed, packed_inputs(rows=rows, phase=phase))
            np.testing.assert_allclose(values, expected[0], rtol=2e-6, atol=1e-6, err_msg=str(METRICS))
            assert_close(gradients, expected[1], 1e-5)


def test_a_neighbour_in_the_row_changes_nothing():
    """Other words in the other captions of a row leave a caption's features as they were."""
    step = build_step(0, 1, packed=True)
    inputs = packed_inputs(rows=8)
    ids, segments, positions = (
        inputs[3 + step.objective.parts.index(f"packed_{name}")].asnumpy() for name in ("ids", "segments", "positions")
    )
    other = np.where(segments == 1, ids, (ids + 7) % 500).astype(np.int32)
    run = ms.jit(step.objective.model.text.forward_packed)
    first, second = (run(Tensor(each), Tensor(segments), Tensor(positions)) for each in (ids, other))
    for one, two in zip(first, second, strict=True):
        one, two = one.asnumpy(), two.asnumpy()
        np.testing.assert_array_equal(one[segments == 1], two[segments == 1])
        assert not np.array_equal(one[segments == 2], two[segments == 2])


def test_accumulation_over_packed_groups_equals_the_whole_batch():
    plain = build_step(0, 1)
    packed = AccumulatedStep(build_step(0, 1, packed=True).objective, dataclasses.replace(TRAIN, accumulate=2))
    load_cell(packed.objective, "same", cell_arrays(plain.objective, "same"), "start")
    packed.compile(*packed_inputs(0, rows=6, groups=2))
    compiled = [len(cell.compile_cache) for cell in packed._cells]
    for seed in range(2):
        expected = plain(*step_inputs(seed)).asnumpy()
        actual = packed(*packed_inputs(seed, rows=6, groups=2)).asnumpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, err_msg=str(METRICS))
    assert compiled == [1, 1, 1, 0] and [len(cell.compile_cache) for cell in packed._cells] == [1, 1, 1, 1]
    trained = cell_arrays(packed.objective, "w")
    for name, weights in cell_arrays(plain.objective, "w").items():
        assert np.abs(trained[name] - weights).max() <= 1e-5 * max(np.abs(weights).max(), 1e-2), name
