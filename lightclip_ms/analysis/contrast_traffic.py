"""Memory that the instance loss of a step fills and moves, counted from its graph.

N pairs on a card, G on all cards, E embedding size. Only arrays [N, G] and [G, E] are counted: they grow with the job.
"""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from lightclip_ms import losses
from lightclip_ms.analysis.ascend_kernels import STRUCTURAL, VIEWS
from lightclip_ms.analysis.cost_model import PRODUCTS, Traffic
from lightclip_ms.analysis.graph import frontend_operators
from lightclip_ms.analysis.step_graph import built_for
from lightclip_ms.train.joined_gather import split_columns

_N, _G, _E = 3, 7, 5  # of the graph that is counted: primes tell the axes of an array
_BYTES = {"float": 4, "int32": 4, "int64": 8, "bool": 1}


class _Contrast(nn.Cell):
    """Loss, entropy and gradients as the step has them, behind the gather."""

    def __init__(self):
        super().__init__()
        self.value_and_grad = ms.value_and_grad(self._loss, (0, 1, 2, 3), has_aux=True)

    def _loss(self, image, text, joined, scale, phase):
        everyone = split_columns(joined, ((image, text),))[0]
        return losses.normalized_instance_loss(image, text, everyone[0], everyone[1], scale, phase)

    def construct(self, image, text, joined, scale, phase):
        return self.value_and_grad(image, text, joined, scale, phase)


def contrast_traffic() -> Traffic:
    """Compile the instance loss as built for Ascend, with its gradient, and count."""
    rows, joined = np.zeros((_N, _E), np.float32), np.zeros((_G, 2 * _E), np.float32)
    arrays = (rows, rows, joined, np.ones(1, np.float32), np.int32(0))
    with built_for("Ascend"):
        operators = frontend_operators(_Contrast(), *(Tensor(array) for array in arrays))
    made, moved = {_N: 0, _E: 0}, {_N: 0, _E: 0}
    for operator in operators:
        if operator.name in STRUCTURAL or operator.name in VIEWS:
            continue
        for other in made:
            made[other] += sum(_share(shape, other) for shape, _ in operator.outputs)
            if operator.name not in PRODUCTS:
                tensors = operator.inputs + operator.outputs
                moved[other] += sum(_share(shape, other) * _BYTES[kind] for shape, kind in tensors)
    return Traffic(round(made[_N]), round(made[_E]), moved[_N], moved[_E])


def _share(shape, other: int) -> float:
    """Size of an array relative to G times another axis; 0 unless it has both."""
    size = math.prod(shape)
    return size / (_G * other) if _G in shape and size % (_G * other) == 0 else 0
