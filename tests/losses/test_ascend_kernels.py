"""The graphs of the losses of other papers, with gradients, hold only what Ascend's cores have kernels for."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from lightclip_ms import losses
from lightclip_ms.analysis.ascend_check import check
from lightclip_ms.analysis.ascend_kernels import Declarations
from lightclip_ms.analysis.graph import frontend_operators
from lightclip_ms.analysis.step_graph import built_for


class WithGradients(nn.Cell):
    def __init__(self, loss, positions):
        super().__init__()
        self.run = ops.value_and_grad(loss, positions)

    def construct(self, *arguments):
        return self.run(*arguments)


def rows(*shape):
    return Tensor(np.zeros(shape, np.float32))


def mask(*shape):
    return Tensor(np.ones(shape, bool))


def simclr(first, second, all_first, all_second, offset):
    return losses.simclr_loss(first, second, 0.1, all_first, all_second, offset)


def siglip(image, text, scale, bias, all_text, offset):
    return losses.siglip_loss(image, text, scale, bias, all_text=all_text, offset=offset)


def filip(image, text, scale, all_image, all_text, valid, all_valid, offset):
    return losses.filip_loss(image, text, valid, scale, all_image, all_text, all_valid, offset)


def neighbours(features, queue, filled):
    return (queue[losses.nearest_neighbours(features, queue, filled)] * features).sum()


ROWS, ALL, OFFSET = rows(2, 8), rows(4, 8), Tensor(2, ms.int32)
TOKENS = (rows(2, 5, 8), rows(2, 6, 8))
CASES = {
    "simclr": (simclr, (0, 1, 2, 3), (ROWS, ROWS, ALL, ALL, OFFSET)),
    "simsiam": (losses.simsiam_loss, (0, 1), (ROWS, ROWS)),
    "siglip": (siglip, (0, 2, 3, 4), (ROWS, ROWS, Tensor(10.0), Tensor(-10.0), ALL, OFFSET)),
    "filip": (
        filip,
        (0, 1, 2, 3, 4),
        (*TOKENS, Tensor(10.0), rows(4, 5, 8), rows(4, 6, 8), mask(2, 6), mask(4, 6), OFFSET),
    ),
    "paired_max": (losses.paired_max_alignment_loss, (0, 1), (*TOKENS, mask(2, 6))),
    "neighbours": (neighbours, (0,), (ROWS, rows(16, 8), Tensor(9, ms.int32))),
}


@pytest.fixture(scope="module")
def declarations():
    return Declarations()


@pytest.mark.parametrize("name", CASES)
def test_no_operator_leaves_the_cores(name, declarations):
    loss, positions, arguments = CASES[name]
    with built_for("Ascend"):
        report = check(frontend_operators(WithGradients(loss, positions), *arguments), declarations, matchers=0)
    assert report.violations == [] and len(report.primitives) > 15
