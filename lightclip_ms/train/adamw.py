"""AdamW (Loshchilov & Hutter, 2017; paper section 4.1): the update of `torch.optim.AdamW` and `optax.adamw`.

With g a gradient, t the number of the update, l the decay and m, v the moments, which are stored uncorrected:

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    p <- p (1 - lr l) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

MindSpore's `Adam` kernel adds its epsilon to sqrt(v), before the correction: p - lr' m / (sqrt(v) + eps') with
lr' = lr sqrt(1 - b2^t) / (1 - b1^t). Both are the same update for eps' = eps sqrt(1 - b2^t).
"""

import re

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore.ops import auto_generate

from lightclip_ms.config.schema import TrainConfig
from lightclip_ms.runtime import backend

_OLD_STATE = re.compile(r"(update/optimizer\.(?:groups\.\d+\.)?)adam\.(.*)")


def is_decayed(parameter: Parameter) -> bool:
    """Weight decay is for matrices and kernels: not for biases, norms and `logit_scale`, whatever shape they have.

    MindCV's ConvNeXt-V2 keeps the scale and shift of its response norm as [1, 1, 1, C].
    """
    return sum(side > 1 for side in parameter.shape) > 1 and "bias" not in parameter.name


class AdamW(nn.Cell):
    """AdamW by MindSpore's `Adam` kernel, whose settings are tensors, so that an update can be voided without a branch.

    On a CPU it takes half the time of the fused `AdamWeightDecay` kernel (`python -m benchmarks.operators`).

    Args:
        parameters: what it updates.
        config: decay, betas and epsilon.
    """

    def __init__(self, parameters: ParameterTuple, config: TrainConfig):
        super().__init__()
        self.parameters = parameters
        self.decayed = ParameterTuple([parameter for parameter in parameters if is_decayed(parameter)])
        self.weight_decay, beta1, beta2, self.eps = _settings(config)
        self.step = Parameter(Tensor([0.0], ms.float32), "step", requires_grad=False)  # updates made
        self.moment1 = parameters.clone("moment1", "zeros")
        self.moment2 = parameters.clone("moment2", "zeros")
        self.betas = Tensor(beta1, ms.float32), Tensor(beta2, ms.float32)
        self.adam = ops.Adam()
        # In place, as a step down a gradient that is the parameter itself: a product would be a second read of the
        # parameter within the step, for which MindSpore copies it twice (`TensorMove`). Ascend lacks the kernel.
        ascend = ms.get_context("device_target") == "Ascend"
        self.decay = _shrink if ascend else ops.ApplyGradientDescent()

    @staticmethod
    def rate(lr: float):
        """A learning rate as `construct` takes it."""
        return Tensor(lr, ms.float32)

    def construct(self, gradients, lr, taken=None):
        """Update once.

        Args:
            gradients: in the parameters' order.
            lr: float32 scalar tensor.
            taken: None, or a bool scalar tensor: where it is False, parameters, moments and `step` keep their values,
                whatever the gradients are.
        """
        beta1, beta2 = self.betas
        count = (self.step + 1).reshape(())
        power1, power2 = ops.pow(beta1, count), ops.pow(beta2, count)
        if taken is not None:
            # With these values the kernel adds zeros: m + (0 - m) (1 - 1), and p - 0 m / (sqrt(v) + eps').
            one, zero = ops.ones((), ms.float32), ops.zeros((), ms.float32)
            beta1, beta2 = ops.select(taken, beta1, one), ops.select(taken, beta2, one)
            lr = ops.select(taken, lr, zero)
            gradients = ops.HyperMap()(ops.partial(_or_zero, taken), gradients)
            ops.assign_add(self.step, taken.astype(ms.float32).reshape(1))
        else:
            ops.assign_add(self.step, ops.ones((1,), ms.float32))
        ops.HyperMap()(ops.partial(_decay, self.decay, lr * self.weight_decay), self.decayed)
        eps = self.eps * ops.sqrt(1 - power2)
        update = ops.partial(_adam, self.adam, power1, power2, lr, beta1, beta2, eps)
        return ops.HyperMap()(update, self.parameters, self.moment1, self.moment2, gradients)


class FusedAdamW(nn.Cell):
    """AdamW by one aclnn kernel a parameter, `AdamW`, decay included; for Ascend cards from Atlas A2 on.

    The kernel's settings are numbers of the host, so an update cannot be voided by a tensor: not for loss scaling.

    Args:
        parameters, config: as in `AdamW`, with the same state under the same names.
    """

    def __init__(self, parameters: ParameterTuple, config: TrainConfig):
        super().__init__()
        self.parameters = parameters
        weight_decay, self.beta1, self.beta2, self.eps = _settings(config)
        self.decays = tuple(weight_decay if is_decayed(parameter) else 0.0 for parameter in parameters)
        self.step = Parameter(Tensor([0.0], ms.float32), "step", requires_grad=False)
        self.moment1 = parameters.clone("moment1", "zeros")
        self.moment2 = parameters.clone("moment2", "zeros")
        self.adamw = auto_generate.AdamW()

    @staticmethod
    def rate(lr: float):
        """A learning rate as `construct` takes it: a number that the host has when it launches the kernels."""
        return ms.mutable(float(lr))

    def construct(self, gradients, lr, taken=None):
        """As `AdamW.construct`, with `lr` from `rate` and without `taken`."""
        # The kernel counts from 0 (it adds 1 before the correction), so it gets the number of updates made before.
        update = ops.partial(_adamw, self.adamw, self.step * 1.0, lr, self.beta1, self.beta2, self.eps)
        done = ops.HyperMap()(update, self.parameters, self.moment1, self.moment2, gradients, self.decays)
        ops.assign_add(self.step, ops.ones((1,), ms.float32))
        return done


def make_adamw(parameters: ParameterTuple, config: TrainConfig, is_scaled: bool) -> nn.Cell:
    """The AdamW for the current device.

    Args:
        parameters, config: see `AdamW`.
        is_scaled: the loss is scaled, so updates may have to be voided.
    """
    fused = ms.get_context("device_target") == "Ascend" and not is_scaled and not backend.is_first_ascend()
    return (FusedAdamW if fused else AdamW)(parameters, config)


def convert_state(arrays: dict) -> dict:
    """Arrays of a checkpoint, with the optimizer's state of earlier versions under today's names.

    They held the state of `nn.Adam`: the same moments, and powers of the betas in place of the number of updates.
    """
    if not any(_OLD_STATE.match(name) for name in arrays):
        return arrays
    converted = {}
    for name, array in arrays.items():
        old = _OLD_STATE.match(name)
        if not old:
            converted[name] = array
        elif old[2] == "global_step":
            converted[f"{old[1]}step"] = array.astype("float32")
        elif old[2].startswith("moment"):
            converted[old[1] + old[2]] = array
    return converted


def _settings(config: TrainConfig) -> tuple[float, ...]:
    return config.weight_decay, config.beta1, config.beta2, config.eps


_or_zero = ops.MultitypeFuncGraph("or_zero")
_decay = ops.MultitypeFuncGraph("decay")
_adam = ops.MultitypeFuncGraph("adam")
_adamw = ops.MultitypeFuncGraph("adamw")


@_or_zero.register("Tensor", "Tensor")
def _gradient_or_zero(taken, gradient):
    return ops.select(taken, gradient, ops.zeros_like(gradient))


@_decay.register("Function", "Tensor", "Tensor")
def _decay_parameter(decay, share, parameter):
    return ops.depend(True, decay(parameter, share, parameter))


def _shrink(parameter, share, delta):
    return ops.assign(parameter, parameter - share * delta)


@_adam.register(
    "Function",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
)
def _adam_parameter(adam, power1, power2, lr, beta1, beta2, eps, parameter, moment1, moment2, gradient):
    return ops.depend(True, adam(parameter, moment1, moment2, power1, power2, lr, beta1, beta2, eps, gradient))


@_adamw.register(
    "Function", "Tensor", "Number", "Number", "Number", "Number", "Tensor", "Tensor", "Tensor", "Tensor", "Number"
)
def _adamw_parameter(adamw, step, lr, beta1, beta2, eps, parameter, moment1, moment2, gradient, decay):
    # The fourth tensor is for AMSGrad only; MindSpore's own optimizer fills the place with the second moment, too.
    return ops.depend(True, adamw(parameter, moment1, moment2, moment2, gradient, step, lr, beta1, beta2, decay, eps))
