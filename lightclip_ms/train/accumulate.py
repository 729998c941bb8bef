"""Gradient accumulation that equals the large batch: features first, gradients afterwards.

Contrastive negatives do not add up over parts of a batch, so plain accumulation trains another loss. Here, as in
GradCache (Gao et al., 2021), all parts are embedded without gradients, the loss of Eq. 2-9 gives the gradient of every
feature, and each part is embedded once more with those gradients as its targets: one forward pass more than plain.

What it cannot equal is batch norm, whose statistics are those of a part; its running ones see each part twice.
N pairs on this card, E embedding size.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.runtime import parallel
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.precision import set_precision
from lightclip_ms.train.update import Update


class _Embed(nn.Cell):
    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    def construct(self, pixels, text):
        model = self.objective.model
        return model.visual(self.objective.normalize(pixels)).astype(ms.float32), model.text(text).astype(ms.float32)


class _FeatureGradients(nn.Cell):
    """Instance loss of a card's whole batch, and its scaled gradient for features and `logit_scale`."""

    def __init__(self, objective: Objective, update: Update):
        super().__init__()
        self.objective, self.update = objective, update
        self.grad = ms.value_and_grad(self._loss, (0, 1), objective.model.logit_scale, has_aux=True)

    def _loss(self, image, text, phase):
        instance = self.objective.instance(image, text, phase)
        return self.update.scale_loss(self.objective.config.instance_weight * instance), instance

    def construct(self, image, text, phase, masks, mlm_weights):
        (_, instance), ((image_grad, text_grad), scale_grad) = self.grad(image, text, phase)
        return instance, image_grad, text_grad, scale_grad, self.objective.totals(masks, mlm_weights)


class _AddPart(nn.Cell):
    """Adds the gradients of one part to the buffers; returns its share of the sums that `encode` gives."""

    def __init__(self, objective: Objective, update: Update, buffers: ms.ParameterTuple):
        super().__init__()
        self.objective, self.update, self.buffers = objective, update, buffers
        self.grad = ms.grad(self._surrogate, None, update.parameters, has_aux=True)

    def _surrogate(self, batch, totals, image_grad, text_grad):
        image, text, sums = self.objective.encode(*batch, totals)
        config = self.objective.config
        loss = (
            (image.astype(ms.float32) * image_grad).sum()
            + (text.astype(ms.float32) * text_grad).sum()
            + self.update.scale_loss(config.token_weight * sums[0] + config.mlm_weight * sums[1])
        )
        return loss, sums

    def construct(
        self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, totals, image_grad, text_grad
    ):
        batch = (pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights)
        gradients, (sums,) = self.grad(batch, totals, image_grad, text_grad)
        for buffer, gradient in zip(self.buffers, gradients):
            ops.assign_add(buffer, gradient.astype(ms.float32))
        return sums


class _Apply(nn.Cell):
    """Update with the sums, empty the buffers."""

    def __init__(self, objective: Objective, update: Update, buffers: ms.ParameterTuple, world_size: int):
        super().__init__()
        self.objective, self.update, self.buffers, self.world_size = objective, update, buffers, world_size
        self.sum_over_cards = parallel.Sum(world_size)
        self.scale_index = [parameter is objective.model.logit_scale for parameter in update.parameters].index(True)

    def construct(self, instance, sums, scale_grad, lr, stop):
        ops.assign_add(self.buffers[self.scale_index], scale_grad)
        gradients = ()
        for buffer in self.buffers:
            gradients += (buffer * 1.0,)
        _, terms = self.objective.combine(instance, sums)
        terms = self.sum_over_cards(ops.concat((terms, stop.reshape(1)))) / self.world_size
        metrics = ops.concat((terms, self.update(gradients, lr)))
        for buffer in self.buffers:
            ops.assign(buffer, ops.zeros_like(buffer))
        return metrics


class AccumulatedStep:
    """A `TrainStep` that holds the activations of only one of `parts` parts of the batch at a time.

    Args:
        objective: `Objective`.
        config: settings; `config.accumulate` parts, which divides `config.batch_size`.
        world_size: number of cards.
    """

    def __init__(self, objective: Objective, config: TrainConfig, world_size: int = 1):
        set_precision(objective, config.amp_level, config.amp_dtype)
        self.objective, self.parts = objective, config.accumulate
        self.update = Update(objective, config, world_size)
        buffers = ms.ParameterTuple(
            [
                ms.Parameter(ops.zeros(parameter.shape, ms.float32), f"sum.{index}", requires_grad=False)
                for index, parameter in enumerate(self.update.parameters)
            ]
        )
        self._cells = (
            _Embed(objective),
            _FeatureGradients(objective, self.update),
            _AddPart(objective, self.update, buffers),
            _Apply(objective, self.update, buffers, world_size),
        )
        for cell in self._cells:
            cell.set_train()

    def __call__(self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase, lr, stop) -> Tensor:
        """As `TrainStep`: float32 [11] of `METRICS`."""
        embed, feature_gradients, add_part, apply = self._cells
        batch = (pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights)
        size = pixels.shape[0] // self.parts
        ranges = [slice(start, start + size) for start in range(0, pixels.shape[0], size)]
        features = [embed(pixels[rows], text[rows]) for rows in ranges]
        image, words = (ops.concat([pair[side] for pair in features]) for side in range(2))
        instance, image_grad, text_grad, scale_grad, totals = feature_gradients(image, words, phase, text, mlm_weights)
        sums = 0
        for rows in ranges:
            sums = sums + add_part(*(array[rows] for array in batch), totals, image_grad[rows], text_grad[rows])
        sums = sums * Tensor([1.0, 1.0, 1.0 / self.parts, 1.0 / self.parts], ms.float32)  # the last two are means
        return apply(instance, sums, scale_grad, lr, stop)
