"""One training step as one compiled graph: forward, losses, gradients, reduction, clipping, AdamW."""

import mindspore as ms
from mindspore import nn, ops

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.runtime import parallel
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.precision import set_precision
from lightclip_ms.train.update import UPDATE_METRICS, Update


class TrainStep(nn.Cell):
    """Updates the objective's parameters with one batch.

    Args:
        objective: `Objective`.
        config: optimizer and precision settings.
        world_size: number of ranks.

    Attributes:
        metrics: names of the numbers that a step returns.
    """

    def __init__(self, objective: Objective, config: TrainConfig, world_size: int = 1):
        super().__init__()
        self.objective = objective
        self.world_size = world_size
        set_precision(objective, config.amp_level, config.amp_dtype)
        self.update = Update(objective, config, world_size)
        self.metrics = step_metrics(objective)
        self.sum_over_ranks = parallel.Sum(world_size)
        self.value_and_grad = ms.value_and_grad(self._scaled_loss, None, self.update.parameters, has_aux=True)
        self.set_train()

    def construct(self, phase, lr, stop, *arrays):
        """Train on one batch.

        Args:
            phase: label phase, int32 scalar. lr: learning rate, float32 scalar.
            stop: float32 scalar, 1 on a rank that was asked to end. Averaging it over ranks makes every rank see the
                request at the same step.
            arrays: the batch's parts (`Objective.parts`). Not as one tuple: MindSpore compiles the tensors of a tuple
                into the graph as constants, and would compile anew for every batch.

        Returns:
            float32 [len(metrics)], means over ranks.
        """
        (_, values), gradients = self.value_and_grad(arrays, phase)
        values = self.sum_over_ranks(ops.concat((values, stop.reshape(1)))) / self.world_size
        return ops.concat((values, self.update(gradients, lr)))

    def _scaled_loss(self, arrays, phase):
        loss, values = self.objective(arrays, phase)
        return self.update.scale_loss(loss), values


def step_metrics(objective: Objective) -> tuple[str, ...]:
    """Names of the numbers that a step with this objective returns."""
    return (*objective.metrics, "stop", *UPDATE_METRICS)
