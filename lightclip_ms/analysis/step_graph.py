"""The graph of the training step as an Ascend card would get it, compiled on any machine. N pairs, L text positions."""

import contextlib
import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, context

from lightclip_ms.analysis.graph import Operator, frontend_operators
from lightclip_ms.config.schema import Config
from lightclip_ms.model import factory
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.sync_batch_norm import synchronize_batch_norm


@contextlib.contextmanager
def built_for(target: str):
    """Inside, layers choose their operators for the device `target`.

    Layers here and in MindSpore ask `get_context("device_target")`, and MindSpore sets no device that it cannot find.
    """
    real = context.get_context

    def get_context(key):
        return target if key == "device_target" else real(key)

    try:
        context.get_context = ms.get_context = get_context
        yield
    finally:
        context.get_context = ms.get_context = real


def empty_batch(config: Config, pairs: int) -> tuple[Tensor, ...]:
    """The arguments of a step, all zeros, for `pairs` pairs."""
    model = config.model
    texts = (pairs, model.context_length)
    slots = (pairs, math.ceil(config.loss.mask_ratio * model.context_length))
    shapes = [
        ((pairs, model.image_size, model.image_size, 3), np.uint8),
        (texts, np.int32),
        (texts, np.int32),
        (slots, np.int32),
        (slots, np.int32),
        (slots, np.float32),
        ((), np.int32),
        ((), np.float32),
        ((), np.float32),
    ]  # phase, learning rate, stop
    return tuple(Tensor(np.zeros(shape, dtype)) for shape, dtype in shapes)


def step_operators(config: Config, pairs: int, rank: int = 0, world_size: int = 1) -> list[Operator]:
    """Operators of the step of one of `world_size` cards with `pairs` pairs each, as built for Ascend."""
    with built_for("Ascend"):
        model = factory.create_model(config.model)
        if config.train.sync_batch_norm:
            synchronize_batch_norm(model, world_size)
        step = TrainStep(Objective(model, config.loss, rank, world_size), config.train, world_size)
        return frontend_operators(step, *empty_batch(config, pairs))
