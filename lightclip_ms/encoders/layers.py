"""Layers that several encoders share; every choice of operator that depends on speed is made here.

Legend: N batch, P image tokens, L sequence length, D width, H heads.
"""

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import Normal

from lightclip_ms.encoders import ascend_layers, cpu_layers
from lightclip_ms.encoders.attention import Attention

HEAD_CHANNELS = 64  # channels of an attention head, wherever the width decides the number of heads
EPSILON = 1e-5  # of layer normalisation


def _on_cpu() -> bool:
    """Whether to build the CPU backend's training forms; all else gets the plain operators."""
    return ms.get_context("device_target") == "CPU"


def dense(inputs: int, outputs: int, std: float, bias: bool = True) -> nn.Dense:
    """A linear map of the last axis with normally distributed weights; `nn.Dense` flattens to 2-D, which is faster."""
    layer = nn.Dense(inputs, outputs, weight_init=Normal(std), bias_init="zeros", has_bias=bias)
    if bias and _on_cpu():
        layer.bias_add = cpu_layers.BiasAdd()
    return layer


def layer_norm(width: int) -> nn.LayerNorm:
    """Layer normalisation of the last axis."""
    return cpu_layers.LayerNorm(width, EPSILON) if _on_cpu() else nn.LayerNorm((width,), epsilon=EPSILON)


def attention() -> Attention:
    """Attention with a bias on the scores."""
    return cpu_layers.Attention() if _on_cpu() else Attention()


def masked_attention() -> Attention:
    """Attention whose bias only masks: 0, or a large negative number."""
    on_ascend = ms.get_context("device_target") == "Ascend"
    return ascend_layers.MaskedAttention() if on_ascend else attention()


def conv_norm(inputs, outputs, kernel, stride=1, groups=1, activation="relu", gamma="ones") -> nn.SequentialCell:
    """Convolution without bias, batch normalisation and an activation; odd kernels keep the map's size / stride."""
    std = (2 * groups / (kernel * kernel * outputs)) ** 0.5
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, "pad", kernel // 2, group=groups, weight_init=Normal(std)),
        nn.BatchNorm2d(outputs, gamma_init=gamma),
    ]
    if activation:
        layers.append(nn.get_activation(activation))
    return nn.SequentialCell(layers)


def map_to_tokens(x):
    """[N, C, H, W] -> [N, H * W, C]."""
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height * width).transpose(0, 2, 1)


def quick_gelu(x):
    """x * sigmoid(1.702 x): 4 to 10 times faster than both GELUs on CPU, FastGelu on Ascend, and ONNX has it."""
    return x * ops.sigmoid(1.702 * x)


def gelu(x):
    """x times the normal distribution function of x, by erf: what weights trained with PyTorch's GELU need."""
    return 0.5 * x * (1 + ops.erf(x * 0.5**0.5))


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


def check_activation(activation: str, what: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"{what}: activation is {' or '.join(ACTIVATIONS)}, not {activation!r}")


def stage_strides(last_stride: int, what: str) -> tuple:
    """Strides of a convolutional encoder's four stages; `last_stride` 1 leaves small images four times the patches.

    Raises:
        ValueError: `last_stride` is neither 1 nor 2.
    """
    if last_stride not in (1, 2):
        raise ValueError(f"{what}: last_stride is 1 or 2, not {last_stride}")
    return 4, 8, 16, 16 * last_stride


def check_heads(width: int, heads: int, what: str) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"{what}: {heads} heads do not divide the width {width}; choose a divisor")


class TransformerBlock(nn.Cell):
    """Pre-LN transformer block: [N, L, D] -> [N, L, D].

    Three maps for query, key and value instead of one: slicing one map's result on an axis cannot be exported to ONNX.

    Args:
        width, heads: D, H.
        attention_std, expand_std, projection_std: initial deviations of the weights of query, key and value, of the
            map to 4 D, and of the two maps back to the residual stream.
        activation: of the MLP, a key of `ACTIVATIONS`.
        make_attention: `attention`, or `masked_attention` if the bias only masks.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        attention_std: float,
        expand_std: float,
        projection_std: float,
        activation: str = "quick_gelu",
        make_attention=attention,
    ):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.heads = heads
        self.attention = make_attention()
        self.norm1 = layer_norm(width)
        self.query = dense(width, width, attention_std)
        self.key = dense(width, width, attention_std)
        self.value = dense(width, width, attention_std)
        self.out = dense(width, width, projection_std)
        self.norm2 = layer_norm(width)
        self.expand = dense(width, 4 * width, expand_std)
        self.contract = dense(4 * width, width, projection_std)

    def construct(self, x, bias, pick=None):
        """Run the block.

        Args:
            x: [N, L, D].
            bias: as in `Attention`, except that sequences of L tokens may be cut into shorter ones: its last axis.
            pick: None, or [N, M, L] with a 1 in each row: only those tokens are computed, for a bias [1, 1, L, L].

        Returns:
            [N, L, D], with `pick` [N, M, D].
        """
        # Windows: [N, L, D] becomes more, shorter sequences, as long as the bias is.
        y = self.norm1(x).reshape(-1, bias.shape[-1], x.shape[-1])
        queried = y
        if pick is not None:
            # Only the picked tokens are queries; keys and values stay those of the whole sequence.
            pick = pick.astype(x.dtype)
            x, queried = ops.BatchMatMul()(pick, x), ops.BatchMatMul()(pick.astype(y.dtype), y)
            bias = ops.matmul(pick, bias.reshape(bias.shape[2:])).expand_dims(1)  # [N, 1, M, L]
        query = self.attention.split(self.query(queried), self.heads)
        key = self.attention.split(self.key(y), self.heads)
        value = self.attention.split(self.value(y), self.heads)
        # Pre-LN: attention and MLP are added to the stream, which no norm touches.
        y = self.attention.merge(self.attention(query, key, value, bias))
        x = x + self.out(y.reshape(x.shape))
        return x + self.mlp(self.norm2(x))

    def mlp(self, x):
        """[..., D] -> [..., D]: to 4 D and back."""
        return self.contract(self.activation(self.expand(x)))
