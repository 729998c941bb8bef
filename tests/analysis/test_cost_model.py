"""The cost model: operations counted from graphs against counts by hand, and the arithmetic of collectives."""

import math
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from lightclip_ms import losses
from lightclip_ms.analysis.contrast_traffic import contrast_traffic
from lightclip_ms.analysis.cost_model import Hardware, Step, Traffic, matrix_flops, similarity_flops, step_cost
from lightclip_ms.analysis.graph import frontend_operators
from tests import ROOT

NO_TRAFFIC = Traffic(0, 0, 0, 0)
SCRIPT = ROOT / "scripts" / "cost_model.py"


class Gradients(nn.Cell):
    """Value and gradients of the sum of a layer's output, for its input and weights."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.grad = ms.value_and_grad(self._sum, 0, layer.trainable_params())
        self.set_train()

    def _sum(self, x):
        return self.layer(x).sum()

    def construct(self, x):
        return self.grad(x)


def count(cell, *shapes):
    return matrix_flops(frontend_operators(cell, *(Tensor(np.zeros(shape, np.float32)) for shape in shapes)))


@pytest.mark.parametrize(
    "layer, shape, forward",
    [
        (nn.Dense(7, 11), (5, 3, 7), 2 * 15 * 7 * 11),
        (nn.Conv2d(6, 10, 3, 2, "pad", 1), (4, 6, 8, 8), 2 * 4 * 10 * 4 * 4 * 6 * 9),
        (nn.Conv2d(6, 6, 3, 1, "pad", 1, group=6), (4, 6, 8, 8), 2 * 4 * 6 * 8 * 8 * 9),
    ],
    ids=["dense", "convolution", "depthwise"],
)
def test_a_layer_costs_once_forward_and_twice_backward(layer, shape, forward):
    assert count(layer, shape) == forward
    assert count(Gradients(layer), shape) == 3 * forward


def test_the_similarity_is_counted_as_the_graph_has_it():
    class Instance(nn.Cell):
        def __init__(self):
            super().__init__()
            self.grad = ms.value_and_grad(losses.instance_loss, (0, 1, 5, 6))

        def construct(self, image, text, all_image, all_text):
            return self.grad(image, text, Tensor(10.0), 0, 0.2, all_image, all_text)

    pairs, columns, width = 3, 7, 5
    assert count(Instance(), *[(pairs, width)] * 2, *[(columns, width)] * 2) == similarity_flops(pairs, columns, width)


def test_the_instance_loss_makes_few_arrays_of_the_size_of_the_job():
    """Per direction [N, G]: logits, those of the negatives, their softmax, the gradient's weights; one mask."""
    traffic = contrast_traffic()
    assert traffic.similarities == 2 * 4 + 1
    # Image and text cut from the gather's result; their gradients, and these side by side, which is two.
    assert traffic.features == 2 + 2 + 2
    # By hand, per direction: the mask and logits of the negatives 1 + 4 + 4, softmax 8, two maxima 8, a sum 4, weights
    # 8; the mask is made once. Of [G, E] split and joined: 16 each.
    assert (traffic.similarity_bytes, traffic.feature_bytes) == (2 * 37 + 1, 32)


def test_traffic_by_hand():
    traffic = Traffic(similarities=0, features=0, similarity_bytes=10, feature_bytes=20)
    assert traffic.bytes(3, 7, 5) == 10 * 3 * 7 + 20 * 7 * 5
    hardware, step = Hardware(memory=1e-9), Step(pairs=3, embed_dim=5, gradients=(1,), flops=1)  # a byte a second
    cost = step_cost(step, 2, hardware, traffic)
    assert cost.elementwise == 10 * 3 * 6 + 20 * 6 * 5
    assert cost.slowest == pytest.approx(cost.compute + cost.elementwise + cost.gather_time + cost.reduction_time)
    assert cost.alone == pytest.approx(step_cost(step, 1, hardware, traffic).slowest)


def test_one_card_sends_nothing():
    cost = step_cost(Step(pairs=8, embed_dim=4, gradients=(1000,), flops=10**9), 1, Hardware(), NO_TRAFFIC)
    assert cost.gather == cost.reduction == cost.buckets == cost.gather_time == cost.reduction_time == 0
    assert cost.flops == 10**9 and cost.slowest == cost.fastest == cost.alone


def test_sixteen_cards_in_two_nodes_by_hand():
    hardware = Hardware(teraflops=100, utilization=0.5, hccs=10, roce=2, node=8, latency=0, host=0)
    step = Step(pairs=4, embed_dim=16, gradients=(5 * 2**20, 2**20, 4 * 2**20, 10 * 2**20), flops=10**12)
    cost = step_cost(step, 16, hardware, NO_TRAFFIC)
    features, gradients = 4 * 4 * 32, 4 * 20 * 2**20
    assert cost.gather == 2 * 15 * features and cost.reduction == pytest.approx(2 * 15 / 16 * gradients)
    assert cost.buckets == 3 and cost.matrix == 4 * 4 * 64  # 20 + 4, 16, 40 MB: buckets of 32, or of one gradient
    assert cost.flops == 10**12 + 12 * 4 * 60 * 16 and cost.alone == pytest.approx(0.02)
    # 15 other cards' features: 1 from the other node for each column of cards, 14 around the node
    assert cost.gather_time == pytest.approx(2 * features * (1 / 2 + 14 / 10) / 1e9)
    assert cost.reduction_time == pytest.approx(2 * gradients * (7 / 8 / 10 + 1 / 2 / 8 / 2) / 1e9)
    assert cost.slowest == pytest.approx(cost.compute + cost.gather_time + cost.reduction_time)
    assert cost.fastest == pytest.approx(
        cost.compute + cost.gather_time + max(0, cost.reduction_time - cost.compute * 2 / 3)
    )


def test_more_cards_cost_more():
    costs = [
        step_cost(Step(512, 1024, (10**8,), 10**13), cards, Hardware(), NO_TRAFFIC) for cards in (1, 2, 8, 16, 64, 512)
    ]
    times = [cost.slowest for cost in costs]
    assert times == sorted(times) and all(cost.alone <= cost.fastest <= cost.slowest for cost in costs)
    assert math.isclose(costs[-1].matrix, 512 * 512 * 512 * 4)


def test_bad_numbers_end_in_one_line():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--hccs", "0"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 2 and done.stderr == "error: --hccs: 0.0 is not possible; use a positive number\n"
