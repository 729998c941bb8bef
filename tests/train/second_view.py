"""A term with a second view, a head and token features of all ranks, trained plainly and accumulated: prints JSON.

A process of its own (see test_terms.py): where many graphs were compiled before, MindSpore's analyser fails on a graph
that calls one encoder for two views.
"""

import dataclasses
import json

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lightclip_ms.config.loss import LossConfig, declare
from lightclip_ms.model import factory
from lightclip_ms.runtime import backend
from lightclip_ms.train.accumulate import AccumulatedStep
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.terms import term as term_module
from lightclip_ms.train.terms.term import BatchTerm
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


def main() -> None:
    backend.prepare_device("cpu")
    declare("views", weight=0.0)
    real = term_module._class_of
    term_module._class_of = lambda name: ViewsTerm if name == "views" else real(name)
    loss = LossConfig(views_weight=0.5, token_weight=0.0, mlm_weight=0.0)
    image, text = make_batch(0)[:2]
    arrays = tuple(Tensor(array) for array in (image, text, image[:, ::-1].copy()))
    inputs = (Tensor(0, ms.int32), Tensor(TRAIN.lr, ms.float32), Tensor(0.0, ms.float32), *arrays)
    results = []
    for step_class, train in ((TrainStep, TRAIN), (AccumulatedStep, dataclasses.replace(TRAIN, accumulate=2))):
        ms.set_seed(3)
        step = step_class(Objective(factory.create_model(MODEL), loss), train)
        head = step.objective.views.head.weight
        before = head.asnumpy().copy()
        values = step(*inputs).asnumpy().tolist()
        results.append(
            {
                "parts": step.objective.parts,
                "metrics": dict(zip(step.metrics, values)),
                "head": head.asnumpy().tolist(),
                "moved": bool(np.abs(head.asnumpy() - before).max() > 0),
            }
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
