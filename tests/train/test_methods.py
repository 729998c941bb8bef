"""Terms of other methods and LightCLIP's switches in the step: values, accumulation, checkpoints, exported models."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.model import factory
from lightclip_ms.model.weights import cell_arrays
from lightclip_ms.train.accumulate import AccumulatedStep
from lightclip_ms.train.objective import Objective, ordered_parts
from lightclip_ms.train.schedule import label_phase
from lightclip_ms.train.state import TrainState
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.terms.term import make_terms
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


def test_only_the_views_that_a_term_needs_are_prepared():
    assert ordered_parts(METHODS_LOSS)[-2:] == ("image_2", "image_3")
    clip = LossConfig(token_weight=0.0, mlm_weight=0.0)
    assert ordered_parts(clip) == ("image", "text")


def test_switches_of_masked_language_modelling():
    model = factory.create_model(MODEL)

    names = {
        key: {parameter.name for parameter in make_terms(model, config)[1].get_parameters()}
        for key, config in {
            "paper": LossConfig(token_weight=0.0),
            "text": LossConfig(token_weight=0.0, mlm_heads="text"),
            "first": LossConfig(token_weight=0.0, fused_stages=(1,)),
        }.items()
    }
    stages = {
        key: {name.split("attention")[1][0] for name in found if "attention" in name} for key, found in names.items()
    }
    assert stages == {"paper": {"2", "3"}, "text": set(), "first": {"1"}}
    assert not any("fused_head" in name for name in names["text"])


def test_many_to_one_alignment_in_the_term_is_the_pure_function():
    config = LossConfig(instance_weight=0.5, mlm_weight=0.0, matching="best_patch")
    term = make_terms(factory.create_model(MODEL), config)[1]
    rng = np.random.default_rng(0)
    channels = term.projection.projection.in_channels
    text = views_inputs()[4]
    features = {
        "image_tokens": Tensor(rng.normal(size=(8, 4, channels)).astype(np.float32)),
        "text_tokens": Tensor(rng.normal(size=(8, MODEL.context_length, MODEL.text_width)).astype(np.float32)),
    }
    loss, _ = term(features, {"text": text})
    valid = losses.token_mask(text, term.sot_id, term.eot_id)
    projected = term.projection(features["image_tokens"])
    expected = losses.paired_max_alignment_loss(projected, features["text_tokens"], valid)
    assert loss.asnumpy() == pytest.approx(expected.asnumpy(), rel=1e-6)
    with pytest.raises(ValueError, match="loss.normalizer: 'pairs' is not possible: .*use sample"):
        LossConfig(matching="best_patch", normalizer="pairs")


@pytest.mark.parametrize("labels, phases", [("progressive", [0, 1, 2]), ("hard", [0] * 3), ("smoothed", [1] * 3)])
def test_labels_may_stay_as_they_are(labels, phases):
    assert [label_phase(LossConfig(labels=labels), epoch, 3) for epoch in range(3)] == phases
    assert label_phase(LossConfig(labels="importance"), 0, 3) == 2
