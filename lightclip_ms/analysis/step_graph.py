"""The graph of the training step as an Ascend card would get it, compiled on any machine. N pairs, L text positions."""

import contextlib
import dataclasses
import math

import mindspore as ms
from mindspore import Tensor, context

from lightclip_ms.analysis.graph import Operator, frontend_operators
from lightclip_ms.config.schema import Config
from lightclip_ms.data.batch import make_layout
from lightclip_ms.model import factory
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.sync_batch_norm import synchronize_batch_norm
from lightclip_ms.train.terms.term import needed_parts

# Rows per caption once packed: captions of CC12M's lengths have 27 of 77 tokens on average, see docs/scaling.md.
ASSUMED_ROWS = 0.38


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


def empty_inputs(config: Config, pairs: int, step: TrainStep) -> tuple:
    """The arguments of `step` for `pairs` pairs: label phase, learning rate, stop request, a batch of zeros."""
    layout = _layout(config, pairs)
    arrays = tuple(Tensor(array) for array in layout.arrays(layout.empty()))
    return Tensor(0, ms.int32), step.update.optimizer.rate(0.0), Tensor(0.0, ms.float32), *arrays


def uploads(config: Config, pairs: int) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Shape and dtype of every array of a batch, which crosses from host to device each step."""
    layout = _layout(config, pairs)
    return tuple((array.shape, str(array.dtype)) for array in layout.arrays(layout.empty()))


def _layout(config: Config, pairs: int):
    train = dataclasses.replace(config.train, batch_size=pairs, accumulate=1)
    layout = make_layout(dataclasses.replace(config, train=train), needed_parts(config.loss))
    rows = math.ceil(ASSUMED_ROWS * layout.captions) if train.pack_captions else 0
    return dataclasses.replace(layout, packed_rows=rows)


def step_operators(config: Config, pairs: int, rank: int = 0, world_size: int = 1) -> list[Operator]:
    """Operators of the step of one of `world_size` cards with `pairs` pairs each, as built for Ascend."""
    with built_for("Ascend"):
        model = factory.create_model(config.model)
        if config.train.sync_batch_norm:
            synchronize_batch_norm(model, rank, world_size)
        step = TrainStep(
            Objective(model, config.loss, rank, world_size, config.train.pack_captions), config.train, world_size
        )
        return frontend_operators(step, *empty_inputs(config, pairs, step))
