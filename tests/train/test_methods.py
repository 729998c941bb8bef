"""Terms of other methods and LightCLIP's switches in the step: values, accumulation, checkpoints, exported models."""

import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms import losses
from lightclip_ms.config.file import load_config
from lightclip_ms.config.loss import active
from lightclip_ms.config.methods import METHODS
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.data.batch import PARTS
from lightclip_ms.model import factory
from lightclip_ms.train.objective import ordered_parts
from lightclip_ms.train.schedule import label_phase
from lightclip_ms.train.terms.term import make_terms
from tests import ROOT
from tests.train.tiny_training import METHODS_LOSS, MODEL, views_inputs


def test_the_step_with_all_terms():
    """Runs the tests of methods_step.py in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/train/methods_step.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout[-5000:] + done.stderr[-1000:]


def test_only_the_views_that_a_term_needs_are_prepared():
    assert ordered_parts(METHODS_LOSS)[-3:] == ("image_2", "image_3", "text_2")
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


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_built(method):
    loss = load_config("demo", [f"method={method}", "loss.simclr_hidden=8", "loss.queue_size=8"]).loss
    terms = make_terms(factory.create_model(MODEL), loss)
    assert [term.name for term in terms] == active(loss)
    assert {part for term in terms for part in term.parts} <= set(ordered_parts(loss)) <= set(PARTS)
    assert all(term.weight > 0 for term in terms)


def test_every_switch_of_lightclip_can_be_built():
    model = factory.create_model(MODEL)
    subsets = [chosen for count in range(1, 5) for chosen in combinations((1, 2, 3, 4), count)]
    assert len(subsets) == 15
    for stages in subsets:
        (term,) = make_terms(model, LossConfig(fused_stages=stages))[2:]
        attended = {name.split(".")[0] for name, _ in term.heads.parameters_and_names() if "attention" in name}
        assert attended == {f"attention{stage}" for stage in stages}
    built = [
        make_terms(
            model, LossConfig(labels=labels, token_weight=token, matching=matching, mlm_weight=mlm, mlm_heads=heads)
        )
        for labels in ("hard", "smoothed", "importance", "progressive")
        for token, matching in ((0.0, "bipartite"), (0.1, "bipartite"), (0.1, "best_patch"))
        for mlm, heads in ((0.0, "text"), (0.1, "text"), (0.1, "text+fused"))
    ]
    assert sorted({tuple(term.name for term in terms) for terms in built}) == [
        ("instance",),
        ("instance", "mlm"),
        ("instance", "token"),
        ("instance", "token", "mlm"),
    ]
