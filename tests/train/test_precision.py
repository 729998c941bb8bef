"""Mixed precision: which operators are half, and what an overflow does."""

import collections
import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from lightclip_ms.analysis.graph import compiled_operators, frontend_operators
from lightclip_ms.analysis.step_graph import built_for
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.model import factory
from lightclip_ms.train import precision
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.precision import INITIAL_SCALE, needs_loss_scale, set_precision
from lightclip_ms.train.state import TrainState
from lightclip_ms.train.sync_batch_norm import ReducedBatchNorm, synchronize_batch_norm
from tests.train.tiny_training import METRICS, MODEL, TRAIN, build_step, step_inputs


def run(step) -> dict:
    return dict(zip(METRICS, step(*step_inputs()).asnumpy().tolist()))


@pytest.fixture(scope="module")
def half():
    return build_step(0, 1, train=dataclasses.replace(TRAIN, amp_level="O2"))


def test_products_are_half_and_norms_softmax_and_optimizer_are_not(half):
    kinds = collections.defaultdict(collections.Counter)
    for operator in compiled_operators(half, *step_inputs()):
        for _, kind in operator.outputs[:1]:
            kinds[operator.name][kind] += 1
    # The instance loss is in float32: three products per direction, with their gradients.
    assert kinds["MatMul"].pop("float") == 6
    assert set(kinds["MatMul"]) == set(kinds["Conv2D"]) == {"float16"}
    for name in ("BatchNorm", "BatchNormGrad", "Softmax", "Adam", "Exp", "Log1p"):  # BatchNorm is LayerNorm on CPU, too
        assert set(kinds[name]) == {"float"}, name


def test_an_overflow_changes_nothing_but_the_scale_until_the_scale_fits(half):
    state = TrainState(half.objective, half.update)
    before = state.arrays()
    first = run(half)
    assert first["overflow"] == 1 and first["loss_scale"] == INITIAL_SCALE and np.isfinite(first["loss"])
    after = state.arrays()
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"update/scale_value"}
    assert float(half.update.scale_value.asnumpy()) == INITIAL_SCALE / 2
    taken = next(metrics for metrics in (run(half) for _ in range(20)) if not metrics["overflow"])
    assert taken["loss"] == pytest.approx(first["loss"], rel=1e-3)
    exact = run(build_step(0, 1))
    assert taken["loss"] == pytest.approx(exact["loss"], rel=5e-3)
    assert taken["grad_norm"] == pytest.approx(exact["grad_norm"], rel=2e-2)  # unscaled before it is measured
    assert run(half)["loss"] < taken["loss"]


ENCODERS = {
    "resnet18": {"depths": [1, 1, 1, 1]},
    "mobilenet_v2": {},
    "swin_nano": MODEL.image_options,
}
# Cells of our own with parameters that are not weights of a product: embeddings and biases, cast where they are used
OWN = {"TextTransformer", "SwinBlock", "LightCLIP"}
PLAIN = {"ReLU", "ReLU6", "AvgPool2d", "SequentialCell", "CellList"}  # compute in what they get


@pytest.mark.parametrize("target, dtype, half", [("CPU", "float16", "fp16"), ("Ascend", "bfloat16", "bf16")])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_layer_type_of_every_model_has_its_precision(encoder, target, dtype, half):
    """A new layer type fails here until somebody decides. bfloat16 has no CPU kernels, so the flags are looked at."""
    with built_for(target):
        model = dataclasses.replace(MODEL, image_encoder=encoder, image_options=ENCODERS[encoder])
        objective = Objective(factory.create_model(model), LossConfig(), 0, 1)
        synchronize_batch_norm(objective.model.visual.stages, 0, 2)  # the stem keeps its norms
        set_precision(objective, "O2", dtype)
    counts, decided = collections.Counter(), ()
    for name, layer in objective.cells_and_names():
        if name.startswith(decided):
            continue  # inside a layer that has its precision
        flags = {flag for flag in ("bf16", "fp16", "fp32") if layer.get_flags().get(flag)}
        if isinstance(layer, (nn.Dense, nn.Conv2d)):
            assert flags == {half}, name
        elif isinstance(layer, (nn.LayerNorm, nn.SyncBatchNorm)):
            assert flags == {"fp32"}, name
        elif isinstance(layer, nn.BatchNorm2d):
            assert flags == (set() if dtype == "float16" else {"fp32"}), name
        elif not isinstance(layer, ReducedBatchNorm):  # casts its input itself
            assert not flags, name
            assert type(layer).__module__.startswith("lightclip_ms") or type(layer).__name__ in PLAIN, name
            assert not layer._params or type(layer).__name__ in OWN, name
        if flags:
            decided += (f"{name}.",)
        counts[type(layer)] += 1
    assert counts[nn.Dense] > 20
    if encoder != "swin_nano":
        assert counts[nn.SyncBatchNorm if target == "Ascend" else ReducedBatchNorm] > 5 and counts[nn.BatchNorm2d]


class GradientOfMaps(nn.Cell):
    """Gradient of an encoder's stages with respect to its weights."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.grad = ms.grad(self._sum, None, ms.ParameterTuple(encoder.stages.trainable_params()))

    def _sum(self, images):
        return self.encoder.forward_features(images)[1].astype(ms.float32).sum()

    def construct(self, images):
        return self.grad(images)


def test_no_map_becomes_float32_between_convolutions():
    with built_for("Ascend"):
        model = factory.create_model(
            dataclasses.replace(MODEL, image_encoder="resnet18", image_options=ENCODERS["resnet18"])
        )
        set_precision(model, "O2", "float16")
        gradient = GradientOfMaps(model.visual).set_train()
        operators = frontend_operators(gradient, Tensor(np.zeros((2, 3, 64, 64), np.float32)))
    maps = [operator for operator in operators if operator.outputs and operator.outputs[0][0][:1] == (2,)]
    kinds = collections.Counter((operator.name, operator.outputs[0][1]) for operator in maps)
    assert kinds["BatchNorm", "float16"] == kinds["BatchNormGrad", "float16"] + 3 > 8  # the stem gets no gradient here
    assert not [(name, kind) for name, kind in kinds if kind == "float" and name in ("BatchNorm", "ReLU", "ReluGrad")]
    assert kinds["Cast", "float"] <= 1  # of the last stage's tokens, to sum them
    statistics = {kind for operator in maps if operator.name == "BatchNorm" for _, kind in operator.outputs[1:]}
    assert statistics == {"float"}


def test_only_float16_needs_a_loss_scale():
    assert not needs_loss_scale("O2", "bfloat16") and not needs_loss_scale("O0") and needs_loss_scale("O2", "float16")


def test_bfloat16_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(precision.backend, "is_first_ascend", lambda: True)
    with pytest.raises(
        ValueError, match="train.amp_dtype: the first generation of Ascend 910 has no bfloat16; use float16"
    ):
        set_precision(nn.ReLU(), "O2", "bfloat16")
