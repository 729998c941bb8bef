"""Vectors updated side by side: the bits of an update of each alone, and checkpoints that do not show it."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.model.weights import cell_arrays, load_cell
from lightclip_ms.train.adamw import AdamW
from lightclip_ms.train.joined_vectors import NAME, JoinedVectors

CONFIG = TrainConfig(weight_decay=0.1)
SHAPES = {"scale": (1,), "a.bias": (7,), "a.weight": (4, 3), "b.bias": (33,), "c.bias": (17,), "c.weight": (2, 2)}
ORDER = ["scale", "a.weight", "c.weight", "a.bias", "b.bias", "c.bias"]  # in which the joined update takes gradients
STEPS = 4


def make_parameters() -> list[Parameter]:
    rng = np.random.default_rng(0)
    return [Parameter(Tensor(rng.standard_normal(shape), ms.float32), name) for name, shape in SHAPES.items()]


def gradients(seed: int, order) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(seed)
    of = {name: Tensor(10.0 ** -rng.integers(0, 7) * rng.standard_normal(s), ms.float32) for name, s in SHAPES.items()}
    return tuple(of[name] for name in order)


class Joined(nn.Cell):
    def __init__(self, parameters):
        super().__init__()
        vectors = JoinedVectors(parameters, [1.0] * len(parameters))
        self.optimizer = AdamW(vectors.updated, CONFIG)
        self.vectors = vectors

    def construct(self, lr, taken, *gradients):
        joined = self.vectors.join(gradients)
        self.vectors.clear()
        self.optimizer(joined, lr, taken)
        self.vectors.spread()
        return True


@pytest.fixture(scope="module", autouse=True)
def two_in_one():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightclip_ms.train.joined_vectors._MOST", 2)
        yield


@pytest.fixture(scope="module")
def trained(two_in_one):
    """(parameters, state as saved) of updates one by one and joined, one update voided, one parameter set between."""
    ms.set_context(mode=ms.GRAPH_MODE)
    alone, joined = make_parameters(), make_parameters()
    optimizer, update = AdamW(ParameterTuple(alone), CONFIG), Joined(joined)
    assert [parameter.name.split("vectors.")[-1] for parameter in update.vectors.parameters] == ORDER
    for step in range(STEPS):
        lr, taken = Tensor(1e-3, ms.float32), Tensor(step != 1, ms.bool_)
        optimizer(gradients(step, SHAPES), lr, taken)
        update(lr, taken, *gradients(step, ORDER))
        if step == 2:
            for parameters in (alone, joined):
                parameters[3].set_data(Tensor(np.linspace(-1, 1, 33), ms.float32))
    saved = cell_arrays(update.optimizer, "update/optimizer")
    saved = {name.replace("update/optimizer/", "update/optimizer."): array for name, array in saved.items()}
    return (alone, optimizer), (joined, update), update.vectors.moments_apart(saved)


def test_an_update_has_the_bits_of_updates_of_each_alone(trained):
    (alone, _), (joined, _), _ = trained
    for one, other in zip(alone, joined):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy(), err_msg=one.name)


def test_a_checkpoint_holds_the_moments_of_each_alone(trained):
    (_, optimizer), _, saved = trained
    expected = {name: array for name, array in cell_arrays(optimizer, "o").items() if "moment" in name}
    found = {f"o/{name.removeprefix('update/optimizer.')}": array for name, array in saved.items() if "moment" in name}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_moments_of_each_are_read(trained):
    _, (_, update), saved = trained
    arrays = update.vectors.moments_joined(saved, "file")
    assert not [name for name in arrays if name.endswith("bias") and "moment" in name]
    again = update.vectors.moments_apart(arrays)
    assert again.keys() == saved.keys()
    for name, array in saved.items():
        np.testing.assert_array_equal(again[name], array)
    optimizer = {name.replace("update/optimizer.", "o/"): array for name, array in arrays.items()}
    assert f"o/moment1.{NAME}0" in optimizer
    load_cell(update.optimizer, "o", optimizer, "file")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (None, r"moment2\.a\.bias has nothing, this model expects shape \(7,\)"),
        (np.zeros(3, np.float32), r"moment2\.a\.bias has shape \(3,\), this model expects shape \(7,\)"),
        (np.zeros(7, np.float16), r"moment2\.a\.bias is of type float16, this model expects float32"),
        (np.full(7, np.nan, np.float32), r"moment2\.a\.bias holds values that are not finite"),
    ],
)
def test_a_moment_that_does_not_fit_is_named(trained, wrong, message):
    _, (_, update), saved = trained
    name = "update/optimizer.moment2.a.bias"
    damaged = {other: array for other, array in saved.items() if other != name}
    if wrong is not None:
        damaged[name] = wrong
    with pytest.raises(ValueError, match=rf"^file: .*update/optimizer\.{message}"):
        update.vectors.moments_joined(damaged, "file")
