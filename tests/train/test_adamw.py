"""Learning rate by hand; AdamW against a float64 oracle, and against PyTorch and optax where they are installed."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.train import adamw
from lightclip_ms.train.adamw import AdamW, FusedAdamW, convert_state, is_decayed, make_adamw
from lightclip_ms.train.schedule import learning_rate

CONFIG = TrainConfig(weight_decay=0.1, beta1=0.9, beta2=0.98, eps=1e-6)
SCALES = [10.0**-power for power in range(9)]  # of gradients
STEPS = 100


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


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
        "response_norm.gamma": (1, 1, 1, 8),
        "channel_scale": (8, 1, 1),
        "pointwise.weight": (8, 4, 1, 1),
        "depthwise.weight": (8, 1, 3, 3),
    }
    decayed = [name for name, shape in names.items() if is_decayed(Parameter(Tensor(np.ones(shape, np.float32)), name))]
    assert decayed == ["projection.weight", "pointwise.weight", "depthwise.weight"]


def make_parameters(arrays) -> ParameterTuple:
    return ParameterTuple([Parameter(Tensor(array, ms.float32), f"w{index}") for index, array in enumerate(arrays)])


def problem() -> tuple[list, list, list]:
    """Parameters that start at 0, so that float32 resolves their movement, one decayed matrix; gradients; rates."""
    rng = np.random.default_rng(0)
    start = [np.zeros(5) for _ in SCALES] + [rng.standard_normal((3, 4))]
    gradients = [
        [
            (scale * (1 + 0.5 * rng.standard_normal(array.shape))).astype(np.float32)
            for scale, array in zip(SCALES + [1.0], start)
        ]
        for _ in range(STEPS)
    ]
    return start, gradients, [learning_rate(step, STEPS, 1e-3) for step in range(STEPS)]


def oracle(start, gradients, rates, taken=None) -> list[np.ndarray]:
    """The update as it is written in the paper on AdamW, in float64; where `taken` is False nothing changes."""
    values = [array.copy() for array in start]
    first, second = ([np.zeros_like(array) for array in start] for _ in range(2))
    number = 0
    for index, (step_gradients, rate) in enumerate(zip(gradients, rates)):
        if taken is not None and not taken[index]:
            continue
        number += 1
        for place, gradient in enumerate(step_gradients):
            gradient = gradient.astype(np.float64)
            if values[place].ndim > 1:
                values[place] *= 1 - rate * 0.1
            first[place] = 0.9 * first[place] + 0.1 * gradient
            second[place] = 0.98 * second[place] + 0.02 * gradient**2
            step_size = rate / (1 - 0.9**number)
            values[place] -= step_size * first[place] / (np.sqrt(second[place] / (1 - 0.98**number)) + 1e-6)
    return values


def run(optimizer, gradients, rates, *taken) -> list[np.ndarray]:
    """Parameters after an update for each of `gradients`; `taken` is a list of bools, if any."""
    for index, (step_gradients, rate) in enumerate(zip(gradients, rates)):
        flags = [Tensor(flag[index], ms.bool_) for flag in taken]
        optimizer(tuple(Tensor(gradient) for gradient in step_gradients), optimizer.rate(rate), *flags)
    return [parameter.asnumpy() for parameter in optimizer.parameters]


def assert_same_movement(actual, expected, start, tolerance=1e-4):
    for scale, found, wanted, before in zip(SCALES + ["decayed"], actual, expected, start):
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted - before).max(), scale


def test_gradients_of_every_size_move_parameters_as_in_the_oracle():
    start, gradients, rates = problem()
    trained = run(AdamW(make_parameters(start), CONFIG), gradients, rates)
    assert_same_movement(trained, oracle(start, gradients, rates), start)


def test_gradients_of_every_size_move_parameters_as_in_pytorch():
    torch = pytest.importorskip("torch")
    start, gradients, rates = problem()
    parameters = [torch.nn.Parameter(torch.tensor(array, dtype=torch.float64)) for array in start]
    groups = [{"params": parameters[:-1], "weight_decay": 0.0}, {"params": parameters[-1:], "weight_decay": 0.1}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    for step_gradients, rate in zip(gradients, rates):
        for parameter, gradient in zip(parameters, step_gradients):
            parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    expected = [parameter.detach().numpy() for parameter in parameters]
    assert_same_movement(expected, oracle(start, gradients, rates), start, 1e-9)


def test_gradients_of_every_size_move_parameters_as_in_optax():
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    start, gradients, rates = problem()
    with jax.experimental.enable_x64():
        parameters, all_rates = [jax.numpy.asarray(array) for array in start], jax.numpy.asarray(rates)
        decayed = [array.ndim > 1 for array in start]
        optimizer = optax.adamw(lambda count: all_rates[count], 0.9, 0.98, 1e-6, weight_decay=0.1, mask=decayed)
        state = optimizer.init(parameters)
        for step_gradients in gradients:
            step_gradients = [jax.numpy.asarray(gradient, float) for gradient in step_gradients]
            updates, state = optimizer.update(step_gradients, state, parameters)
            parameters = optax.apply_updates(parameters, updates)
        assert_same_movement([np.asarray(array) for array in parameters], oracle(start, gradients, rates), start, 1e-9)


def test_an_update_that_is_not_taken_changes_no_bit():
    start, gradients, rates = problem()
    gradients, rates = gradients[:8], rates[5:13]
    taken = [False, True, True, False, False, True, False, True]
    for flag, step_gradients in zip(taken, gradients):
        if not flag:
            step_gradients[2][:3] = [np.inf, -np.inf, np.nan]
    masked, plain = AdamW(make_parameters(start), CONFIG), AdamW(make_parameters(start), CONFIG)
    actual = run(masked, gradients, rates, taken)
    kept = [index for index, flag in enumerate(taken) if flag]
    expected = run(plain, [gradients[index] for index in kept], [rates[index] for index in kept], [True] * len(kept))
    for found, wanted in zip(actual, expected):
        np.testing.assert_array_equal(found, wanted)
    assert_same_movement(actual, oracle(start, gradients, rates, taken), start)
    for moments in ("moment1", "moment2"):
        for found, wanted in zip(getattr(masked, moments), getattr(plain, moments)):
            np.testing.assert_array_equal(found.asnumpy(), wanted.asnumpy())
    assert masked.step.asnumpy() == plain.step.asnumpy() == len(kept)


class AscendKernel(nn.Cell):
    """What CANN documents for aclnnApplyAdamWV2: `step` is counted from 0, decay comes first."""

    def construct(self, parameter, moment1, moment2, unused, gradient, step, lr, beta1, beta2, decay, eps):
        count = step + 1
        ops.assign(moment1, beta1 * moment1 + (1 - beta1) * gradient)
        ops.assign(moment2, beta2 * moment2 + (1 - beta2) * gradient * gradient)
        root = ops.sqrt(moment2) / ops.sqrt(1 - ops.pow(beta2, count)) + eps
        ops.assign(parameter, parameter * (1 - lr * decay) - lr / (1 - ops.pow(beta1, count)) * moment1 / root)
        return parameter, moment1, moment2


def test_the_form_for_ascend_gives_its_kernel_what_makes_it_the_same_update():
    ms.set_context(mode=ms.PYNATIVE_MODE)  # the stand-in for the kernel is a Cell
    start, gradients, rates = problem()
    optimizer = FusedAdamW(make_parameters(start), CONFIG)
    optimizer.adamw = AscendKernel()
    assert_same_movement(run(optimizer, gradients, rates), oracle(start, gradients, rates), start)


@pytest.mark.parametrize(
    "target, scaled, first, expected",
    [
        ("CPU", False, False, AdamW),
        ("Ascend", False, False, FusedAdamW),
        ("Ascend", True, False, AdamW),  # the fused kernel cannot be voided without a branch
        ("Ascend", False, True, AdamW),  # and is not there for the first generation
    ],
)
def test_the_kernel_is_chosen_by_device_and_loss_scaling(monkeypatch, target, scaled, first, expected):
    monkeypatch.setattr(ms, "get_context", lambda key: target)
    monkeypatch.setattr(adamw.backend, "is_first_ascend", lambda: first)
    assert type(make_adamw(make_parameters([np.zeros(2)]), CONFIG, scaled)) is expected


def test_the_state_of_earlier_checkpoints_is_that_of_today_under_other_names():
    old = {
        "model/w": np.ones(2, np.float32),
        "update/scale_value": np.ones(()),
        "update/optimizer.adam.global_step": np.array([7], np.int32),
        "update/optimizer.adam.learning_rate": np.ones((), np.float32),
        "update/optimizer.adam.beta1_power": np.ones((), np.float32),
        "update/optimizer.adam.beta2_power": np.ones((), np.float32),
        "update/optimizer.adam.moment1.w": np.full(2, 3.0),
        "update/optimizer.adam.moment2.w": np.full(2, 4.0),
    }
    new = convert_state(old)
    assert sorted(new) == [
        "model/w",
        "update/optimizer.moment1.w",
        "update/optimizer.moment2.w",
        "update/optimizer.step",
        "update/scale_value",
    ]
    assert new["update/optimizer.step"] == [7] and new["update/optimizer.step"].dtype == np.float32
    assert new["update/optimizer.moment2.w"] is old["update/optimizer.adam.moment2.w"]
    assert convert_state(new) is new
