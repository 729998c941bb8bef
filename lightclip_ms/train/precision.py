"""Mixed precision (Micikevicius et al., 2017): where half precision is used, and how the loss is scaled for it.

`O0` is float32 throughout. With `O2` the matrix products and convolutions run in half precision on float32 weights;
normalisation, softmax, the residual stream, the losses and the optimizer stay in float32.

MindSpore's `amp.auto_mixed_precision` is not used: it converts only what it finds in `construct` of cells it knows, an
eighth of the products here, and its O2 leaves products of two precisions behind.
"""

import mindspore as ms
from mindspore import amp, nn

DTYPES = {"float16": ms.float16, "bfloat16": ms.bfloat16}
INITIAL_SCALE = 2.0**16
GROWTH_STEPS = 2000  # steps without overflow after which the scale doubles


def set_precision(cell: nn.Cell, level: str, dtype: str = "float16") -> None:
    """With `level` O2 every convolution and linear map inside `cell` computes in `dtype`, every norm in float32."""
    if level == "O2":
        for _, layer in cell.cells_and_names():
            if isinstance(layer, (nn.Dense, nn.Conv2d)):
                layer.to_float(DTYPES[dtype])
            elif isinstance(layer, (nn.LayerNorm, nn.BatchNorm2d)):
                layer.to_float(ms.float32)


def needs_loss_scale(level: str, dtype: str = "float16") -> bool:
    """float16 gradients underflow; bfloat16 has the range of float32."""
    return level == "O2" and dtype == "float16"


def make_loss_scaler() -> amp.DynamicLossScaler:
    """Halves the scale at an overflow, doubles it after `GROWTH_STEPS` steps without one."""
    return amp.DynamicLossScaler(INITIAL_SCALE, 2, GROWTH_STEPS)
