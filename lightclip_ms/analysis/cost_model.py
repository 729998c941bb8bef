"""What a training step costs a card: a model, not a measurement. N pairs on a card, W cards, G = N W, E embedding size.

Floating-point operations are those of matrix products and convolutions, counted from the graph. Elementwise work is
bound by memory: it is counted where it grows with W (`analysis.contrast_traffic`), the rest is inside the share of the
peak. Bytes sent are those that leave a card, counted from the shapes of what `parallel` sends.
"""

import math
from dataclasses import dataclass

from lightclip_ms.analysis.graph import Operator
from lightclip_ms.config.schema import Config
from lightclip_ms.runtime.parallel import FUSION_MEGABYTES

PRODUCTS = ("MatMul", "MatMulExt", "BatchMatMul", "BatchMatMulExt")
_OPTIMIZERS = ("Adam", "AdamW")  # one for each parameter, whose gradient has its shape
_FLOAT = 4  # bytes; features, similarities and gradients are float32 in either precision


@dataclass(frozen=True)
class Hardware:
    """Assumed speeds; GB/s is 1e9 bytes a second out of a card."""

    teraflops: float = 300.0  # of a card, peak, half precision
    utilization: float = 0.3  # share of the peak that a step reaches
    memory: float = 1000.0  # GB/s of a card's memory, read or written
    hccs: float = 150.0  # GB/s between the cards of a node
    roce: float = 20.0  # GB/s of each card to other nodes
    node: int = 8  # cards of a node
    latency: float = 30.0  # microseconds of a collective, times log2 W
    host: float = 10.0  # milliseconds a step in which the device waits for the matcher


@dataclass(frozen=True)
class Step:
    """What one card computes with G = N, and the sizes that decide what it sends."""

    pairs: int
    embed_dim: int
    gradients: tuple[int, ...]  # numbers in each
    flops: int


@dataclass(frozen=True)
class Traffic:
    """What the loss and its gradient make of gathered features, from the gather's result to its gradient.

    Attributes:
        similarities: arrays [N, G] that are made, those of the products of Eq. 2-3 and their gradients included.
        features: arrays [G, E] that are made; [G, 2E] counts twice.
        similarity_bytes: that operators other than products read and write, per N G.
        feature_bytes: the same per G E.
    """

    similarities: int
    features: int
    similarity_bytes: float
    feature_bytes: float

    def bytes(self, rows: int, columns: int, width: int) -> float:
        """Bytes read and written for N rows, G columns and E."""
        return columns * (self.similarity_bytes * rows + self.feature_bytes * width)


@dataclass(frozen=True)
class Cost:
    """One step of one of W cards. Times in seconds, sizes in bytes."""

    flops: float
    similarity: float  # share of the flops in the products of the features of all cards
    gather: float  # bytes out of a card for all features, and for their gradient back
    reduction: float  # bytes out of a card for the gradients of the parameters
    buckets: int
    matrix: float  # one N x G array of float32
    compute: float
    elementwise: float  # seconds of the work on memory that grows with W
    gather_time: float
    reduction_time: float
    alone: float  # seconds of the step on a single card

    @property
    def slowest(self) -> float:
        """Seconds of a step if nothing overlaps."""
        return self.compute + self.elementwise + self.gather_time + self.reduction_time

    @property
    def fastest(self) -> float:
        """Seconds of a step if gradients travel while the backward pass, two thirds of the work, goes on."""
        hidden = 2 / 3 * self.compute
        return self.compute + self.elementwise + self.gather_time + max(0.0, self.reduction_time - hidden)


def matrix_flops(operators: list[Operator]) -> int:
    """Floating-point operations of the products and convolutions, a multiplication and an addition each."""
    total = 0
    for operator in operators:
        made = operator.outputs[0][0] if operator.outputs else ()
        if operator.name in PRODUCTS:
            total += 2 * math.prod(operator.inputs[0][0]) * made[-1]  # every number of the left side meets a row
        elif operator.name == "Conv2D":
            total += _convolution(made, operator.inputs[1][0])
        elif operator.name == "Conv2DBackpropInput":
            total += _convolution(operator.inputs[0][0], operator.inputs[1][0])
        elif operator.name == "Conv2DBackpropFilter":
            total += _convolution(operator.inputs[0][0], made)
    return total


def _convolution(map_shape, kernel_shape) -> int:
    """Of a map [N, C, H, W] that a kernel [C, C' / groups, k, k] made, or the gradient of either operand."""
    return 2 * math.prod(map_shape) * math.prod(kernel_shape[1:])


def similarity_flops(pairs: int, columns: int, embed_dim: int) -> int:
    """Of both directions of Eq. 2-3 and their gradients: three products of N G E each way."""
    return 12 * pairs * columns * embed_dim


def count_step(config: Config) -> Step:
    """Compile the step of `config` with its whole batch and count."""
    from lightclip_ms.analysis.step_graph import step_operators  # MindSpore only when something is compiled

    operators = step_operators(config, config.train.batch_size)
    gradients = tuple(math.prod(operator.inputs[0][0]) for operator in operators if operator.name in _OPTIMIZERS)
    return Step(config.train.batch_size, config.model.embed_dim, gradients, matrix_flops(operators))


def step_cost(step: Step, cards: int, hardware: Hardware, traffic: Traffic) -> Cost:
    """Cost of `step` on each of `cards` cards; `traffic` is that of its contrastive loss.

    Collectives go by node: first among the cards of a node over HCCS, each for its share then over RoCE.
    """
    extra = similarity_flops(step.pairs, step.pairs * (cards - 1), step.embed_dim)
    flops = step.flops + extra
    rate = hardware.teraflops * 1e12 * hardware.utilization
    local = min(cards, hardware.node)
    nodes = math.ceil(cards / hardware.node)
    features = _FLOAT * step.pairs * 2 * step.embed_dim
    gradients = _FLOAT * sum(step.gradients)
    buckets = _buckets(step.gradients) if cards > 1 else 0
    latency = hardware.latency * 1e-6 * math.log2(max(1, cards))
    gather = 2 * (cards - 1) * features  # as an all-gather forth and as a reduce-scatter back
    gather_time = 2 * features * ((nodes - 1) / hardware.roce + (local - 1) * nodes / hardware.hccs) / 1e9 + 4 * latency
    reduction_time = (
        2 * gradients * ((local - 1) / local / hardware.hccs + (nodes - 1) / nodes / local / hardware.roce) / 1e9
    )
    rows, everyone, width = step.pairs, step.pairs * cards, step.embed_dim
    elementwise = traffic.bytes(rows, everyone, width) / hardware.memory / 1e9
    return Cost(
        flops,
        similarity_flops(step.pairs, step.pairs * cards, step.embed_dim) / flops,
        gather,
        2 * (cards - 1) / cards * gradients,
        buckets,
        _FLOAT * step.pairs**2 * cards,
        flops / rate + hardware.host / 1e3,
        elementwise,
        gather_time,
        reduction_time + buckets * latency,
        step.flops / rate + hardware.host / 1e3 + traffic.bytes(rows, rows, width) / hardware.memory / 1e9,
    )


def _buckets(gradients: tuple[int, ...]) -> int:
    """How many collectives carry these gradients, filled one after the other up to the threshold of `parallel`."""
    count, filled = 0, math.inf
    for size in gradients:
        if filled + _FLOAT * size > FUSION_MEGABYTES * 2**20:
            count, filled = count + 1, 0
        filled += _FLOAT * size
    return count
