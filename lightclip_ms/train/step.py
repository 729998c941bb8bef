"""One training step as one compiled graph: forward, losses, gradients, reduction, clipping, AdamW."""

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.runtime import parallel
from lightclip_ms.train.objective import TERMS, Objective
from lightclip_ms.train.precision import set_precision
from lightclip_ms.train.update import Update

METRICS = (*TERMS, "stop", "grad_norm", "logit_scale", "loss_scale", "overflow")


class TrainStep(nn.Cell):
    """Updates the objective's parameters with one batch.

    Args:
        objective: `Objective`.
        config: optimizer and precision settings.
        world_size: number of cards.
    """

    def __init__(self, objective: Objective, config: TrainConfig, world_size: int = 1):
        super().__init__()
        self.objective = objective
        self.world_size = world_size
        set_precision(objective, config.amp_level, config.amp_dtype)
        self.update = Update(objective, config, world_size)
        self.sum_over_cards = parallel.Sum(world_size)
        self.value_and_grad = ms.value_and_grad(self._scaled_loss, None, self.update.parameters, has_aux=True)
        self.set_train()

    def construct(self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase, lr, stop):
        """A batch as `Objective.construct` takes it, the label phase (int32), learning rate and stop request (float32).

        `stop` is 1 on a card that was asked to end; its mean is how all cards learn of it at the same step.

        Returns:
            float32 [11] of `METRICS`, means over cards.
        """
        (_, terms), gradients = self.value_and_grad(
            pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase
        )
        terms = self.sum_over_cards(ops.concat((terms, stop.reshape(1)))) / self.world_size
        return ops.concat((terms, self.update(gradients, lr)))

    def _scaled_loss(self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase):
        loss, terms = self.objective(pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase)
        return self.update.scale_loss(loss), terms
