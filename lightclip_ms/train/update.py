"""From a rank's gradients to updated parameters: reduce, unscale, clip, AdamW, clamp."""

import math
from functools import partial

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.runtime import parallel
from lightclip_ms.train.adamw import make_adamw
from lightclip_ms.train.joined_vectors import JoinedVectors
from lightclip_ms.train.precision import make_loss_scaler, make_overflow_check, needs_loss_scale
from lightclip_ms.train.tower_rates import rate_factors, with_tower_rates

MAX_LOGIT_SCALE = math.log(100)
UPDATE_METRICS = ("grad_norm", "logit_scale", "loss_scale", "overflow")


class Update(nn.Cell):
    """Update the objective's parameters with the mean over ranks of their gradients.

    With loss scaling, an overflow on any rank leaves parameters and moments as they were, on all of them. That is no
    branch: the device would wait for the host to read the condition.

    Args:
        objective: `Objective`.
        config: optimizer and precision settings.
        world_size: number of ranks.

    Attributes:
        parameters: what is trained, in the order in which `construct` takes gradients.
    """

    def __init__(self, objective: nn.Cell, config: TrainConfig, world_size: int):
        super().__init__()
        self.clip_norm = config.clip_norm
        trained = objective.trainable_params()
        vectors = JoinedVectors(trained, rate_factors(trained, objective.model, config))
        self.parameters = vectors.parameters
        self.logit_scale = objective.model.logit_scale
        self.scaler = None
        if needs_loss_scale(config.amp_level, config.amp_dtype):
            self.scaler = make_loss_scaler()
            self.scale_value, self.scale_counter = self.scaler.scale_value, self.scaler.counter  # for checkpoints
            self.is_finite = make_overflow_check(world_size)
        make = partial(make_adamw, config=config, is_scaled=self.scaler is not None)
        self.optimizer = with_tower_rates(vectors.updated, vectors.factors, config, make)
        self.reduce = parallel.make_grad_reducer(vectors.updated, world_size)
        self.vectors = vectors  # last: this renames parameters, and moments are named after them

    def scale_loss(self, loss):
        """`loss` times the loss scale."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def construct(self, gradients, lr):
        """Gradients of the scaled loss in the parameters' order, learning rate from `optimizer.rate`.

        Returns:
            float32 [4] of `UPDATE_METRICS`: norm of the gradients, 1 / temperature after the update, loss scale of this
            step, 1 if overflow.
        """
        gradients = self.reduce(self.vectors.join(gradients))
        if self.scaler is None:
            norm = global_norm(gradients)
            self._apply(gradients, norm, lr, None)
            return ops.stack((norm, self._inverse_temperature(), ops.ones((), ms.float32), ops.zeros((), ms.float32)))
        gradients = self.scaler.unscale(gradients)
        loss_scale = self.scale_value * 1.0  # a copy from before it is adjusted
        norm = global_norm(gradients)
        finite = self.is_finite(gradients, norm)
        self._apply(gradients, norm, lr, finite)
        self.scaler.adjust(finite)
        return ops.stack((norm, self._inverse_temperature(), loss_scale, 1 - finite.astype(ms.float32)))

    def _apply(self, gradients, norm, lr, taken):
        if self.clip_norm > 0:
            gradients = scale(gradients, ops.minimum(self.clip_norm / (norm + 1e-6), 1.0))
        self.vectors.clear()
        self.optimizer(gradients, lr, taken)
        self.vectors.spread()
        # Clamp the parameter itself: clamping its value in the forward pass would zero its gradient once out of range.
        ops.assign(self.logit_scale, ops.clamp(self.logit_scale, 0.0, MAX_LOGIT_SCALE))
        return True

    def _inverse_temperature(self):
        return self.logit_scale.exp().reshape(())


_behind = ops.MultitypeFuncGraph("behind")
_squares = ops.MultitypeFuncGraph("squares")
_scale = ops.MultitypeFuncGraph("scale")


@_behind.register("Tuple", "Tensor")
def _behind_all(gradients, gradient):
    return ops.depend(gradient, gradients)


@_squares.register("Tensor")
def _squares_of_tensor(gradient):
    squares = ops.square(gradient.astype(ms.float32))
    if gradient.ndim > 1:  # row by row first: a sum over all axes at once takes 7 times as long on the CPU backend
        return squares.reshape(gradient.shape[0], -1).sum(1)
    return squares.reshape(-1)


@_scale.register("Tensor", "Tensor")
def _scale_tensor(factor, gradient):
    return gradient * factor.astype(gradient.dtype)


def global_norm(gradients):
    """Euclidean norm of all gradients, float32 scalar; one sum over all, as there are hundreds of small ones."""
    # Behind the backward pass: the squares of a vocabulary's gradient, the first to be there, would take 0.2 GB when
    # most activations are still held.
    gradients = ops.HyperMap()(ops.partial(_behind, gradients), gradients)
    return ops.sqrt(ops.concat(ops.HyperMap()(_squares, gradients)).sum())


def scale(gradients, factor):
    """Every gradient times a scalar tensor."""
    return ops.HyperMap()(ops.partial(_scale, factor), gradients)
