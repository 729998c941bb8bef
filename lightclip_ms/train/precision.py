"""Mixed precision (Micikevicius et al., 2017): where half precision is used, and how the loss is scaled for it.

`O0` is float32 throughout. With `O2` the matrix products and convolutions run in half precision on float32 weights;
layer normalisation, softmax, the transformers' residual stream, the losses and the optimizer stay in float32. Batch
normalisation takes the convolution's float16 and returns float16, with parameters and statistics in float32: between
two convolutions no map is converted to float32 and back. MindSpore's operator refuses bfloat16, so there it is float32.

MindSpore's `amp.auto_mixed_precision` is not used: it converts only what it finds in `construct` of cells it knows, an
eighth of the products here, and its O2 leaves products of two precisions behind.
"""

import mindspore as ms
from mindspore import amp, nn, ops

from lightclip_ms.runtime import backend, parallel

DTYPES = {"float16": ms.float16, "bfloat16": ms.bfloat16}
INITIAL_SCALE = 2.0**16
GROWTH_STEPS = 2000  # steps without overflow after which the scale doubles


# Layer types whose precision is set; subclasses follow their base. `nn.SyncBatchNorm` is no `nn.BatchNorm2d`, and may
# sum over ranks in the precision of its input. Other Cells cast their parameters where they use them.
_PRODUCTS = (nn.Dense, nn.Conv2d)
_FLOAT32 = (nn.LayerNorm, nn.SyncBatchNorm)


def set_precision(cell: nn.Cell, level: str, dtype: str = "float16") -> None:
    """With `level` O2 every convolution and linear map inside `cell` computes in `dtype`, its norms as said above.

    Raises:
        ValueError: the device has no arithmetic for `dtype`.
    """
    if level != "O2":
        return
    if dtype == "bfloat16" and backend.is_first_ascend():
        raise ValueError("train.amp_dtype: the first generation of Ascend 910 has no bfloat16; use float16")
    float32 = _FLOAT32 if dtype == "float16" else (*_FLOAT32, nn.BatchNorm2d)
    for _, layer in cell.cells_and_names():
        if isinstance(layer, _PRODUCTS):
            layer.to_float(DTYPES[dtype])
        elif isinstance(layer, float32):
            layer.to_float(ms.float32)


def needs_loss_scale(level: str, dtype: str = "float16") -> bool:
    """float16 gradients underflow; bfloat16 has the range of float32."""
    return level == "O2" and dtype == "float16"


def make_loss_scaler() -> amp.DynamicLossScaler:
    """Halves the scale at an overflow, doubles it after `GROWTH_STEPS` steps without one."""
    return amp.DynamicLossScaler(INITIAL_SCALE, 2, GROWTH_STEPS)


class _FiniteNorm(nn.Cell):
    """Infinities and NaN reach the norm of all gradients, which is the same on every rank."""

    def construct(self, gradients, norm):
        return ops.isfinite(norm)


class _DeviceStatus(nn.Cell):
    """MindSpore's own check, which knows how the cards at hand treat an overflow.

    First-generation 910 cards, and later ones in saturation mode, have no infinities: they continue with the largest
    number and set a status. Each card has its own, so the overflows of all ranks are added up.
    """

    def __init__(self, world_size: int):
        super().__init__()
        self.sum_over_ranks = parallel.Sum(world_size)

    def construct(self, gradients, norm):
        finite = ops.logical_and(amp.all_finite(gradients), ops.isfinite(norm))
        return self.sum_over_ranks(1 - finite.astype(ms.float32).reshape(1)).reshape(()) < 0.5


def make_overflow_check(world_size: int) -> nn.Cell:
    """(gradients, their global norm, float32) -> bool scalar tensor: no rank has seen an overflow in this step."""
    on_ascend = ms.get_context("device_target") == "Ascend"
    return _DeviceStatus(world_size) if on_ascend else _FiniteNorm()
