"""Terms of the objective: registration, the parts they ask for, and two contrastive terms in one gather."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from lightclip_ms.config import loss as loss_config
from lightclip_ms.config.loss import LossConfig, active, declare
from lightclip_ms.model import factory
from lightclip_ms.train import objective as objective_module
from lightclip_ms.train.accumulate import AccumulatedStep
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.terms import term as term_module
from lightclip_ms.train.terms.term import BatchTerm, make_terms, needed_parts
from tests.train.tiny_training import MODEL, TRAIN, make_batch


class ViewsTerm(BatchTerm):
    """Squared distance of two projected views of each picture, and of its patches from the mean of all ranks."""

    parts = ("image_2",)
    features = ("image", "image_2", "image_tokens")
    logs = ("views_spread",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        self.head = nn.Dense(model.visual.embed_dim, 3)

    def local(self, features, batch):
        return self.head(features["image"]), self.head(features["image_2"]), features["image_tokens"]

    def construct(self, own, everyone, features, batch):
        distance = ops.square(own[0] - own[1]).sum(1).mean()
        spread = ops.square(own[2] - everyone[2].mean(0, keep_dims=True)).mean()
        return distance + spread, (spread,)


@pytest.fixture
def views(monkeypatch):
    """The term above, registered for one test."""
    monkeypatch.setattr(loss_config, "_DECLARED", dict(loss_config._DECLARED))
    declare("views", weight=0.0)
    real = term_module._class_of
    monkeypatch.setattr(term_module, "_class_of", lambda name: ViewsTerm if name == "views" else real(name))
    return LossConfig(views_weight=0.5, token_weight=0.0, mlm_weight=0.0)


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
    with pytest.raises(ValueError, match="loss.instance_weight must be above 0"):
        LossConfig(instance_weight=0.0)


def test_a_term_with_a_second_view_and_tokens_needs_no_change_to_step_or_accumulation(views):
    """Its loss is computed on the whole batch, plain and accumulated, and its head is trained."""
    assert objective_module.ordered_parts(views) == ("image", "text", "image_2")
    image, text = make_batch(0)[:2]
    arrays = tuple(Tensor(array) for array in (image, text, image[:, ::-1].copy()))
    inputs = (Tensor(0, ms.int32), Tensor(TRAIN.lr, ms.float32), Tensor(0.0, ms.float32), *arrays)

    def build(step_class, train):
        ms.set_seed(3)
        return step_class(Objective(factory.create_model(MODEL), views), train)

    whole = build(TrainStep, TRAIN)
    parts = build(AccumulatedStep, dataclasses.replace(TRAIN, accumulate=2))
    head = whole.objective.views.head.weight
    before = head.asnumpy().copy()
    expected, actual = whole(*inputs).asnumpy(), parts(*inputs).asnumpy()
    named = dict(zip(whole.metrics, expected.tolist()))
    assert named["loss"] == pytest.approx(0.8 * named["instance"] + 0.5 * named["views"], rel=1e-5)
    assert 0 < named["views_spread"] < named["views"] and not np.array_equal(head.asnumpy(), before)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5, err_msg=str(whole.metrics))
    np.testing.assert_allclose(parts.objective.views.head.weight.asnumpy(), head.asnumpy(), rtol=1e-3, atol=1e-5)
