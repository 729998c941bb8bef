"""Mixed precision: which operators are half, and what an overflow does."""

import collections
import dataclasses

import numpy as np
import pytest
from mindspore import nn

from lightclip_ms.analysis.graph import compiled_operators
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.model import factory
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.precision import INITIAL_SCALE, needs_loss_scale, set_precision
from tests.train.tiny_training import METRICS, MODEL, TRAIN, build_step, step_inputs


def run(step) -> dict:
    return dict(zip(METRICS, step(*step_inputs()).asnumpy().tolist()))


@pytest.fixture(scope="module")
def half():
    return build_step(0, 1, train=dataclasses.replace(TRAIN, amp_level="O2"))


def test_products_are_half_and_norms_softmax_and_optimizer_are_not(half):
    kinds = collections.defaultdict(set)
    for operator in compiled_operators(half, *step_inputs()):
        for _, kind in operator.outputs[:1]:
            kinds[operator.name].add(kind)
    assert kinds["MatMul"] == kinds["Conv2D"] == {"float16"}
    for name in ("BatchNorm", "BatchNormGrad", "Softmax", "Adam", "Exp", "Log1p"):  # BatchNorm is LayerNorm on CPU, too
        assert kinds[name] == {"float"}, name


def test_an_overflow_changes_nothing_but_the_scale_until_the_scale_fits(half):
    before = [parameter.asnumpy().copy() for parameter in half.get_parameters() if "scale_" not in parameter.name]
    first = run(half)
    assert first["overflow"] == 1 and first["loss_scale"] == INITIAL_SCALE and np.isfinite(first["loss"])
    after = [parameter.asnumpy() for parameter in half.get_parameters() if "scale_" not in parameter.name]
    assert all(np.array_equal(old, new) for old, new in zip(before, after))
    assert float(half.update.scale_value.asnumpy()) == INITIAL_SCALE / 2
    taken = next(metrics for metrics in (run(half) for _ in range(20)) if not metrics["overflow"])
    assert taken["loss"] == pytest.approx(first["loss"], rel=1e-3)
    exact = run(build_step(0, 1))
    assert taken["loss"] == pytest.approx(exact["loss"], rel=5e-3)
    assert taken["grad_norm"] == pytest.approx(exact["grad_norm"], rel=2e-2)  # unscaled before it is measured
    assert run(half)["loss"] < taken["loss"]


def test_bfloat16_reaches_the_same_layers_and_needs_no_loss_scale():
    """It has no CPU kernels, so the layers' own setting is what can be checked here."""
    objective = Objective(factory.create_model(MODEL), LossConfig())
    set_precision(objective, "O2", "bfloat16")
    half, single = [], []
    for _, layer in objective.cells_and_names():
        if isinstance(layer, (nn.Dense, nn.Conv2d)):
            half.append(layer.get_flags())
        elif isinstance(layer, nn.LayerNorm):
            single.append(layer.get_flags())
    assert len(half) > 40 and all(flags.get("bf16") for flags in half)
    assert len(single) > 10 and all(flags.get("fp32") for flags in single)
    assert not needs_loss_scale("O2", "bfloat16") and needs_loss_scale("O2", "float16")
