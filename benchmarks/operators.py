"""Milliseconds of operator forms that were chosen between: `python -m benchmarks.operators [THREADS]`."""

import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = sys.argv[1] if len(sys.argv) > 1 else str(os.cpu_count())

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from scipy.optimize import linear_sum_assignment

import lightclip_ms.runtime.backend
from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.encoders import layers
from lightclip_ms.encoders.cpu_layers import _column_sums
from lightclip_ms.losses.matching import UNMATCHED, _begin
from lightclip_ms.train.adamw import AdamW
from lightclip_ms.train.update import global_norm

TOKENS, WIDTH, VOCABULARY, CALLS, ROUNDS = 2464, 2048, 49408, 10, 5


def reduce_sum(x):
    return ops.ReduceSum()(x, 0)


def column_sums(x):
    return _column_sums(x)


def sum_of_all(x):
    return ops.square(x).sum()


def sum_by_rows(x):
    return global_norm((x,))


def quick_gelu(x):
    return layers.quick_gelu(x)


def scaled_silu(x):
    return ops.silu(1.702 * x) * (1 / 1.702)


def tanh_gelu(x):
    return ops.gelu(x, approximate="tanh")


class Forward(nn.Cell):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def construct(self, x):
        return self.function(x)


class Backward(Forward):
    def __init__(self, function):
        super().__init__(function)
        self.grad = ops.GradOperation(sens_param=True)

    def construct(self, x):
        return self.grad(self.function)(x, x)


class AddBias(nn.Cell):
    def construct(self, bias):
        return ops.bias_add(ops.zeros((TOKENS, WIDTH), ms.float32), bias)


class BiasAddGrad(Backward):
    def __init__(self):
        super().__init__(AddBias())

    def construct(self, bias, x):
        return self.grad(self.function)(bias, x)


class Convolution(nn.Cell):
    """3x3, 24 channels out."""

    def __init__(self):
        super().__init__()
        self.convolve = ops.Conv2D(24, 3, pad_mode="pad", pad=1)

    def construct(self, x, weight):
        return self.convolve(x, weight)


class UnfoldedConvolution(nn.Cell):
    def construct(self, x, weight):
        n, _, height, width = x.shape
        return ops.matmul(weight.reshape(1, 24, -1), ops.unfold(x, 3, padding=1)).reshape(n, 24, height, width)


class HalvedConvolution(Convolution):
    def construct(self, x, weight):
        half = x.shape[1] // 2
        return self.convolve(x[:, :half], weight[:, :half]) + self.convolve(x[:, half:], weight[:, half:])


class ConvolutionGradients(nn.Cell):
    """Forward and backward."""

    def __init__(self, convolution):
        super().__init__()
        self.convolution = convolution
        self.grad = ops.GradOperation(get_all=True, sens_param=True)

    def construct(self, x, weight, gradient):
        return self.grad(self.convolution)(x, weight, gradient)


class FusedAdamW(nn.Cell):
    """`ops.AdamWeightDecay`, whose bias correction would have to go into its learning rate, epsilon and decay."""

    def __init__(self, parameter):
        super().__init__()
        self.parameter = parameter
        self.moments = ms.ParameterTuple([ms.Parameter(ops.zeros_like(parameter), name) for name in ("m", "v")])
        self.update = ops.AdamWeightDecay()
        self.numbers = [Tensor(value, ms.float32) for value in (0.9, 0.98, 1e-6, 0.1)]

    def construct(self, gradients, rate):
        return self.update(self.parameter, *self.moments, rate, *self.numbers, gradients[0])


class DecayedAdam(nn.Cell):
    def __init__(self, parameter):
        super().__init__()
        self.update = AdamW(ms.ParameterTuple([parameter]), TrainConfig())

    def construct(self, gradients, rate):
        self.update(gradients, rate)
        return rate + 1


def show(name: str, cell: nn.Cell, *inputs) -> None:
    """Print the median over rounds, after one call that compiles."""
    milliseconds = []
    for calls in (1, *[CALLS] * ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            result = cell(*inputs)
        while isinstance(result, tuple):
            result = result[0]
        result.asnumpy()  # waits for the last call
        milliseconds.append(1e3 * (time.perf_counter() - start) / calls)
    print(f"  {name:<28} {np.median(milliseconds[1:]):8.2f}", flush=True)


def show_matching(rng, pairs: int = 512, patches: int = 49, positions: int = 77, words: int = 12) -> None:
    """What the graph calls, on random costs, against SciPy's solver in a plain loop."""
    cost = rng.random((pairs, positions, patches)).astype(np.float32)
    valid = np.zeros((pairs, positions), bool)
    valid[:, 1 : words + 1] = True

    def plain_loop():
        patches_of = np.full(valid.shape, UNMATCHED, np.int32)
        for row, table, places in zip(patches_of, cost, valid):
            word, patch = linear_sum_assignment(table[places])
            row[np.flatnonzero(places)[word]] = patch

    for name, run in (("plain loop", plain_loop), ("losses.matching", lambda: _begin(cost, valid)())):
        seconds = []
        for _ in range(CALLS * ROUNDS):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        print(f"  {name:<28} {1e3 * np.median(seconds):8.2f}")


def main():
    lightclip_ms.runtime.backend.prepare_device("cpu")
    rng = np.random.default_rng(0)
    tokens, matrix = (
        Tensor(rng.normal(size=(rows, columns)).astype(np.float32))
        for rows, columns in ((TOKENS, WIDTH), (VOCABULARY, 512))
    )
    print(f"bias gradient of [{TOKENS}, {WIDTH}]")
    show("BiasAddGrad", BiasAddGrad(), ops.zeros((WIDTH,), ms.float32), tokens)
    for function in (reduce_sum, column_sums):
        show(function.__name__, Forward(function), tokens)
    print(f"sum of squares of [{VOCABULARY}, 512]")
    for function in (sum_of_all, sum_by_rows):
        show(function.__name__, Forward(function), matrix)
    print(f"activation of [{TOKENS}, {WIDTH}], forward and backward")
    for function in (tanh_gelu, scaled_silu, quick_gelu):
        show(f"{function.__name__} forward", Forward(function), tokens)
        show(f"{function.__name__} backward", Backward(function), tokens)
    print(f"AdamW of [{VOCABULARY}, 512]")
    rate = Tensor(1e-4, ms.float32)
    show("AdamWeightDecay", FusedAdamW(ms.Parameter(matrix * 0.02, "fused")), (matrix,), rate)
    show("Adam, decoupled decay", DecayedAdam(ms.Parameter(matrix * 0.02, "adam")), (matrix,), rate)
    for channels, side in ((24, 32), (192, 4)):
        print(f"3x3 convolution of [64, {channels}, {side}, {side}] to 24 channels, forward and backward")
        x, weight, gradient = (
            Tensor(rng.normal(size=shape).astype(np.float32))
            for shape in ((64, channels, side, side), (24, channels, 3, 3), (64, 24, side, side))
        )
        for form in (Convolution, UnfoldedConvolution, HalvedConvolution):
            show(form.__name__, ConvolutionGradients(form()), x, weight, gradient)
    print("matching of 512 pairs, 49 patches, 12 words of 77 positions")
    show_matching(rng)


if __name__ == "__main__":
    main()
