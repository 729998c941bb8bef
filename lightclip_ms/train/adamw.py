"""AdamW (paper section 4.1)."""

from mindspore import Parameter, ParameterTuple, nn, ops


def is_decayed(parameter: Parameter) -> bool:
    """Weight decay is for matrices and kernels: not for biases, norms and `logit_scale`."""
    return parameter.ndim > 1 and "bias" not in parameter.name


class AdamW(nn.Cell):
    """`nn.Adam` with decoupled decay: p <- p (1 - lr wd), then Adam's update (Loshchilov & Hutter, 2017).

    MindSpore's own `nn.AdamWeightDecay` has no bias correction, and takes seven times as long on the CPU backend.
    """

    def __init__(self, parameters, weight_decay: float, beta1: float, beta2: float, eps: float):
        super().__init__()
        self.adam = nn.Adam(parameters, learning_rate=0.0, beta1=beta1, beta2=beta2, eps=eps)
        self.decayed = ParameterTuple([parameter for parameter in parameters if is_decayed(parameter)])
        self.weight_decay = weight_decay

    def construct(self, gradients, lr):
        """Gradients in the parameters' order, `lr` a float32 scalar tensor."""
        ops.assign(self.adam.learning_rate, lr)
        for parameter in self.decayed:
            ops.assign(parameter, parameter * (1 - lr * self.weight_decay))
        return self.adam(gradients)
