"""Gradient accumulation that equals the large batch: features first, gradients afterwards.

Contrastive negatives do not add up over parts of a batch, so plain accumulation trains another loss. Here, as in
GradCache (Gao et al., 2021), all parts are embedded without gradients, and the `BatchTerm`s give the gradient of every
feature. Each part is then embedded again and its saved feature gradients are backpropagated, at the cost of one extra
forward pass.

Batch norm is the exception: its statistics are those of a part, and its running ones see each part twice.
N pairs of this rank, E embedding size.
"""

import math

import mindspore as ms
from mindspore import Tensor, nn, ops

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.data.batch import MASKING
from lightclip_ms.runtime import parallel
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.precision import set_precision
from lightclip_ms.train.step import step_metrics
from lightclip_ms.train.update import Update

# Applied by HyperMap: the compiler nests a call for each turn of a loop, and allows 1,000 in all.
_add = ops.MultitypeFuncGraph("add")
_copy = ops.MultitypeFuncGraph("copy")
_clear = ops.MultitypeFuncGraph("clear")


@_add.register("Tensor", "Tensor")
def _add_gradient(buffer, gradient):
    return ops.assign_add(buffer, gradient.astype(ms.float32))


@_copy.register("Tensor")
def _copy_buffer(buffer):
    return buffer * 1.0


@_clear.register("Tensor")
def _clear_buffer(buffer):
    return ops.assign(buffer, ops.zeros_like(buffer))


class _Features(nn.Cell):
    """The features that the `BatchTerm`s compare, side by side in one float32 [N, sum of their sizes]."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective
        self.names = tuple(dict.fromkeys(name for term in objective.batch_terms for name in term.features))
        self.shapes = feature_shapes(objective.model)
        self.widths = {name: math.prod(self.shapes[name]) for name in self.names}

    def join(self, features):
        flat = ()
        for name in self.names:
            flat += (features[name].astype(ms.float32).reshape(features[name].shape[0], -1),)
        return ops.concat(flat, 1)

    def split(self, joined):
        features = {"logit_scale": self.objective.model.logit_scale.exp()}
        start = 0
        for name in self.names:
            width = self.widths[name]
            features[name] = joined[:, start : start + width].reshape((-1,) + self.shapes[name])
            start += width
        return features


class _Embed(_Features):
    def construct(self, phase, *arrays):
        batch = {}
        for name, array in self.objective.name_parts(arrays, phase).items():
            # No term that compares pairs reads the masked captions; packed ones share rows with the others.
            if self.objective.packed or name not in MASKING:
                batch[name] = array
        return self.join(self.objective.encode(batch))


class _FeatureGradients(_Features):
    """The `BatchTerm`s on a rank's whole batch, and their scaled gradients for features and parameters."""

    def __init__(self, objective: Objective, update: Update):
        super().__init__(objective)
        self.update = update
        heads = [parameter for term in objective.batch_terms for parameter in term.trainable_params()]
        self.weights = ms.ParameterTuple([objective.model.logit_scale, *heads])
        self.grad = ms.value_and_grad(self._loss, 0, self.weights, has_aux=True)

    def _loss(self, joined, arrays, phase):
        compared = self.objective.compare(self.split(joined), self.objective.name_parts(arrays, phase))
        loss = ops.zeros((), ms.float32)
        for index, term in enumerate(self.objective.batch_terms):
            loss = loss + term.weight * compared[index]
        return self.update.scale_loss(loss), compared

    def construct(self, joined, phase, *arrays):
        (_, compared), (feature_grad, weight_grads) = self.grad(joined, arrays, phase)
        totals = ops.zeros((1,), ms.float32)
        if self.objective.pair_terms:
            totals = self.objective.totals(self.objective.name_parts(arrays, phase))
        return compared, feature_grad, weight_grads, totals


class _AddPart(_Features):
    """Adds the gradients of one part to the buffers; returns its share of what `average` gives."""

    def __init__(self, objective: Objective, update: Update, buffers: ms.ParameterTuple):
        super().__init__(objective)
        self.update, self.buffers = update, buffers
        self.grad = ms.grad(self._surrogate, None, update.parameters, has_aux=True)

    def _surrogate(self, arrays, phase, totals, feature_grad):
        batch = self.objective.name_parts(arrays, phase)
        features = self.objective.begin(self.objective.encode(batch), batch)
        loss = (self.join(features) * feature_grad).sum()
        averaged = ops.zeros((1,), ms.float32)
        if self.objective.pair_terms:
            averaged = self.objective.average(features, batch, totals)
            weighted = ops.zeros((), ms.float32)
            for index, term in enumerate(self.objective.pair_terms):
                weighted = weighted + term.weight * averaged[index]
            loss = loss + self.update.scale_loss(weighted)
        return loss, averaged

    def construct(self, phase, totals, feature_grad, *arrays):
        gradients, (averaged,) = self.grad(arrays, phase, totals, feature_grad)
        ops.HyperMap()(_add, self.buffers, gradients)
        return averaged


class _Apply(nn.Cell):
    """Update with the sums, empty the buffers."""

    def __init__(self, objective: Objective, update: Update, weights, buffers: ms.ParameterTuple, world_size: int):
        super().__init__()
        self.objective, self.update, self.buffers, self.world_size = objective, update, buffers, world_size
        self.sum_over_ranks = parallel.Sum(world_size)
        places = [next(i for i, each in enumerate(update.parameters) if each is weight) for weight in weights]
        self.weight_buffers = ms.ParameterTuple([buffers[place] for place in places])

    def construct(self, compared, averaged, lr, stop, *weight_grads):
        ops.HyperMap()(_add, self.weight_buffers, weight_grads)
        gradients = ops.HyperMap()(_copy, self.buffers)
        _, values = self.objective.combine(compared, averaged)
        values = self.sum_over_ranks(ops.concat((values, stop.reshape(1)))) / self.world_size
        metrics = ops.concat((values, self.update(gradients, lr)))
        ops.HyperMap()(_clear, self.buffers)
        return metrics


class AccumulatedStep:
    """A `TrainStep` that holds the activations of only one of `parts` parts of the batch at a time.

    Args:
        objective: `Objective`.
        config: settings; `config.accumulate` parts, which divides `config.batch_size`.
        world_size: number of ranks.
    """

    def __init__(self, objective: Objective, config: TrainConfig, world_size: int = 1):
        set_precision(objective, config.amp_level, config.amp_dtype)
        self.objective, self.parts = objective, config.accumulate
        self.metrics = step_metrics(objective)
        self.update = Update(objective, config, world_size)
        buffers = ms.ParameterTuple(
            [
                ms.Parameter(ops.zeros(parameter.shape, ms.float32), f"sum.{index}", requires_grad=False)
                for index, parameter in enumerate(self.update.parameters)
            ]
        )
        gradients = _FeatureGradients(objective, self.update)
        self._cells = (
            _Embed(objective),
            gradients,
            _AddPart(objective, self.update, buffers),
            _Apply(objective, self.update, gradients.weights, buffers, world_size),
        )
        for cell in self._cells:
            cell.set_train()

    def compile(self, phase, lr, stop, *arrays) -> None:
        """Compile what depends on the shapes of the arrays, as `TrainStep.compile` does."""
        embed, feature_gradients, add_part, _ = self._cells
        part = tuple(_part(array, 0, self.parts) for array in arrays)
        joined = ops.zeros((len(arrays[0]), sum(embed.widths.values())), ms.float32)
        totals = ops.zeros((max(1, len(self.objective.pair_terms)),), ms.float32)
        embed.compile(phase, *part)
        feature_gradients.compile(joined, phase, *arrays)
        add_part.compile(phase, totals, _part(joined, 0, self.parts), *part)

    def __call__(self, phase, lr, stop, *arrays) -> Tensor:
        """As `TrainStep`."""
        embed, feature_gradients, add_part, apply = self._cells
        # Packed rows come group by group, so each array is cut into as many equal parts along its first axis.
        parts = [tuple(_part(array, index, self.parts) for array in arrays) for index in range(self.parts)]
        # 1. Features of all parts, without gradients.
        joined = ops.concat([embed(phase, *part) for part in parts])
        # 2. The loss over the whole batch gives the gradient of every feature.
        compared, feature_grad, weight_grads, totals = feature_gradients(joined, phase, *arrays)
        # 3. Each part again, with these gradients as the slope of its features.
        averaged = 0
        for index, part in enumerate(parts):
            averaged = averaged + add_part(phase, totals, _part(feature_grad, index, self.parts), *part)
        losses = len(self.objective.pair_terms)
        # Losses are sums over the parts; logs are means of a part each.
        share = [1.0] * losses + [1.0 / self.parts] * (averaged.shape[0] - losses)
        averaged = averaged * Tensor(share, ms.float32)
        return apply(compared, averaged, lr, stop, *weight_grads)


def _part(array: Tensor, index: int, parts: int) -> Tensor:
    size = array.shape[0] // parts
    return array[index * size : (index + 1) * size]


def feature_shapes(model: nn.Cell) -> dict[str, tuple[int, ...]]:
    """Shape of one pair's share of every feature that a `BatchTerm` may compare."""
    visual, text = model.visual, model.text
    patches = (visual.image_size // visual.stage_strides[3]) ** 2
    pooled = ("image", "text", "image_2", "image_3", "text_2")
    return {
        **{name: (visual.embed_dim,) for name in pooled},
        "image_tokens": (patches, visual.stage_channels[3]),
        "text_tokens": (text.context_length, text.width),
    }
