"""Learning rates of the towers' own: `train.image_lr` and `train.text_lr`."""

import mindspore as ms
from mindspore import nn

from lightclip_ms.config.schema import TrainConfig


class TowerRates(nn.Cell):
    """One optimizer for each group of parameters with a common learning rate.

    Args:
        parameters: all that are trained.
        factors: each parameter's share of the learning rate.
        make: optimizer of a `ParameterTuple`, called as `optimizer(gradients, lr, ...)`.
    """

    def __init__(self, parameters: ms.ParameterTuple, factors: list[float], make):
        super().__init__()
        self.factors = tuple(dict.fromkeys(factors))
        self.places = tuple(tuple(i for i, other in enumerate(factors) if other == factor) for factor in self.factors)
        groups = [ms.ParameterTuple([parameters[i] for i in places]) for places in self.places]
        self.groups = nn.CellList([make(group) for group in groups])

    def rate(self, lr: float):
        """A learning rate as `construct` takes it."""
        return self.groups[0].rate(lr)

    def construct(self, gradients, lr, *more):
        """Gradients in the parameters' order, learning rate from `rate`; `more` goes to every optimizer."""
        for index, optimizer in enumerate(self.groups):
            own = ()
            for place in self.places[index]:
                own += (gradients[place],)
            optimizer(own, lr * self.factors[index], *more)
        return True


def rate_factors(parameters: list, model: nn.Cell, config: TrainConfig) -> list[float]:
    """Each parameter's share of the learning rate: its tower's own rate, where that is set."""
    own = {"visual": config.image_lr / config.lr, "text": config.text_lr / config.lr}
    factor_of = {
        id(parameter): factor
        for tower, factor in own.items()
        if factor > 0
        for parameter in getattr(model, tower).trainable_params()
    }
    return [factor_of.get(id(parameter), 1.0) for parameter in parameters]


def with_tower_rates(parameters: ms.ParameterTuple, factors: list[float], config: TrainConfig, make) -> nn.Cell:
    """The optimizer of `parameters`: that of `make` where they all have one learning rate, else `TowerRates`."""
    if config.image_lr or config.text_lr:
        return TowerRates(parameters, factors, make)
    return make(parameters)
