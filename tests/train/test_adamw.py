"""Learning rate by hand, AdamW against a float64 oracle."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from lightclip_ms.train.adamw import AdamW, is_decayed
from lightclip_ms.train.schedule import learning_rate


@pytest.mark.parametrize(
    "step, expected",
    [
        (0, 0.2),
        (1, 0.4),
        (4, 1.0),  # 5 warm-up steps of 100
        (5, 1.0),
        (52, 0.508267),
        (53, 0.491733),
        (99, 0.000273),
    ],
)
def test_learning_rate(step, expected):
    assert learning_rate(step, 100, 1.0, 0.05) == pytest.approx(expected, abs=1e-6)


def test_learning_rate_without_warm_up_starts_at_the_peak():
    assert learning_rate(0, 10, 3.0, 0.0) == 3.0


def test_decay_is_for_matrices_only():
    names = {
        "projection.weight": (2, 3),
        "projection.bias": (3,),
        "logit_scale": (1,),
        "norm.gamma": (3,),
        "block.relative_bias": (9, 2),
    }
    decayed = [name for name, shape in names.items() if is_decayed(Parameter(Tensor(np.ones(shape, np.float32)), name))]
    assert decayed == ["projection.weight"]


def test_adamw_follows_the_decoupled_update():
    rng = np.random.default_rng(0)
    start = {"weight": rng.standard_normal((3, 4)), "bias": rng.standard_normal(4)}
    parameters = ms.ParameterTuple([Parameter(Tensor(value, ms.float32), name) for name, value in start.items()])
    optimizer = AdamW(parameters, weight_decay=0.1, beta1=0.9, beta2=0.98, eps=1e-6)
    expected = {name: value.copy() for name, value in start.items()}
    first, second = ({name: np.zeros_like(value) for name, value in start.items()} for _ in range(2))
    for step, rate in enumerate([1e-2, 5e-3, 2e-2], 1):
        gradients = [rng.standard_normal(value.shape).astype(np.float32) for value in start.values()]
        optimizer(tuple(Tensor(gradient) for gradient in gradients), Tensor(rate, ms.float32))
        for (name, value), gradient in zip(expected.items(), gradients):
            if value.ndim > 1:
                value *= 1 - rate * 0.1
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.98 * second[name] + 0.02 * gradient.astype(float) ** 2
            value -= rate * (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.98**step)) + 1e-6)
    for parameter, value in zip(parameters, expected.values()):
        np.testing.assert_allclose(parameter.asnumpy(), value, rtol=1e-5, atol=1e-6)
