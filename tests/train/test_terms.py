"""Terms of the objective: registration, the parts they ask for, and two contrastive terms in one gather."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lightclip_ms.config import loss as loss_config
from lightclip_ms.config.loss import LossConfig, active, declare
from lightclip_ms.model import factory
from lightclip_ms.train.terms.term import make_terms, needed_parts
from tests import ROOT
from tests.train.tiny_training import MODEL


def test_weights_decide_which_terms_there_are_and_what_they_need():
    assert active(LossConfig()) == ["instance", "token", "mlm"]
    assert active(LossConfig(mlm_weight=0.0)) == ["instance", "token"]
    assert "masked_text" in needed_parts(LossConfig()) and needed_parts(LossConfig(mlm_weight=0.0)) == ()
    terms = make_terms(factory.create_model(MODEL), LossConfig())
    assert [(term.name, term.weight) for term in terms] == [("instance", 0.8), ("token", 0.1), ("mlm", 0.1)]


def test_a_key_belongs_to_one_term(monkeypatch):
    monkeypatch.setattr(loss_config, "_DECLARED", dict(loss_config._DECLARED))
    with pytest.raises(ValueError, match="loss term other: the keys .*delta.* are declared already"):
        declare("other", weight=0.0, delta=loss_config.share(0.1))


def test_without_a_term_that_trains_embeddings_there_is_nothing_to_train():
    with pytest.raises(
        ValueError, match="loss.instance_weight or loss.siglip_weight or loss.multi_view_weight must be above 0"
    ):
        LossConfig(instance_weight=0.0)


def test_a_term_with_a_second_view_and_tokens_needs_no_change_to_step_or_accumulation():
    """Its loss is computed on the whole batch, plain and accumulated, and its head is trained."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.second_view"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    whole, parts = json.loads(done.stdout.splitlines()[-1])
    named = whole["metrics"]
    assert whole["parts"] == ["image", "text", "image_2"] and whole["moved"]
    assert named["loss"] == pytest.approx(0.8 * named["instance"] + 0.5 * named["views"], rel=1e-5)
    assert 0 < named["views_spread"] < named["views"]
    assert parts["metrics"] == pytest.approx(named, rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(parts["head"], whole["head"], rtol=1e-3, atol=1e-5)
