"""One training step as one compiled graph: forward, losses, gradients, reduction, clipping, AdamW."""
import math

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms import parallel
from lightclip_ms.config import TrainConfig
from lightclip_ms.train.objective import TERMS, Objective
from lightclip_ms.train.optim import AdamW

METRICS = (*TERMS, "stop", "grad_norm", "logit_scale")
MAX_LOGIT_SCALE = math.log(100)


class TrainStep(nn.Cell):
    """Updates the objective's parameters with one batch.

    Args:
        objective: `Objective`.
        config: optimizer settings.
        world_size: number of cards.
    """

    def __init__(self, objective: Objective, config: TrainConfig, world_size: int = 1):
        super().__init__()
        self.objective = objective
        self.clip_norm = config.clip_norm
        self.world_size = world_size
        self.parameters = ms.ParameterTuple(objective.trainable_params())
        self.optimizer = AdamW(self.parameters, config.weight_decay, config.beta1, config.beta2, config.eps)
        self.grad_reducer = parallel.make_grad_reducer(self.parameters, world_size)
        self.sum_over_cards = parallel.Sum(world_size)
        self.value_and_grad = ms.value_and_grad(objective, None, self.parameters, has_aux=True)
        self.set_train()

    def construct(self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase, lr, stop):
        """A batch as `Objective.construct` takes it, the label phase (int32), learning rate and stop request (float32).

        `stop` is 1 on a card that was asked to end; its mean is how all cards learn of it at the same step.

        Returns:
            float32 [8] of `METRICS`, means over cards.
        """
        (_, terms), gradients = self.value_and_grad(
            pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase)
        terms = self.sum_over_cards(ops.concat((terms, stop.reshape(1)))) / self.world_size
        gradients = self.grad_reducer(gradients)
        norm = global_norm(gradients)
        factor = ops.minimum(self.clip_norm / (norm + 1e-6), 1.0)
        self.optimizer(scale(gradients, factor), lr)
        # The parameter is clamped, not its use: a clamp inside the graph would stop its gradient for good.
        logit_scale = self.objective.model.logit_scale
        ops.assign(logit_scale, ops.clamp(logit_scale, 0.0, MAX_LOGIT_SCALE))
        return ops.concat((terms, norm.reshape(1), logit_scale.exp()))


_square_sum = ops.MultitypeFuncGraph("square_sum")
_scale = ops.MultitypeFuncGraph("scale")


@_square_sum.register("Tensor")
def _square_sum_of_tensor(gradient):
    return ops.square(gradient.astype(ms.float32)).sum()


@_scale.register("Tensor", "Tensor")
def _scale_tensor(factor, gradient):
    return gradient * factor.astype(gradient.dtype)


def global_norm(gradients):
    """Euclidean norm of all gradients together, float32 scalar."""
    return ops.sqrt(ops.addn(ops.HyperMap()(_square_sum, gradients)))


def scale(gradients, factor):
    """Every gradient times a scalar tensor."""
    return ops.HyperMap()(ops.partial(_scale, factor), gradients)
