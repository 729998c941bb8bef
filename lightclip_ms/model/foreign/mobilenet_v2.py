"""MobileNetV2 of timm (`mobilenetv2_100` and its other widths) and of torchvision (`mobilenet_v2`)."""

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.foreign.mapping import Mapping

# blocks of every row of the paper's table 2, and the stage here that holds the row
ROWS = ((1, 0), (2, 0), (3, 1), (4, 2), (3, 2), (3, 3), (1, 3))


def _places():
    """(row, block of the row, block here) of all 17 blocks, in order."""
    filled = [0, 0, 0, 0]
    for row, (blocks, stage) in enumerate(ROWS):
        for block in range(blocks):
            yield row, block, f"visual.stages.{stage}.{filled[stage]}.layers"
            filled[stage] += 1


def map_timm(mapping: Mapping, config: ModelConfig) -> None:
    _map_stem(mapping, "conv_stem", "bn1")
    for row, block, target in _places():
        # the first row has no expansion
        layers = ("conv_dw", "conv_pw") if row == 0 else ("conv_pw", "conv_dw", "conv_pwl")
        for place, layer in enumerate(layers):
            source = f"blocks.{row}.{block}"
            mapping.conv_norm(f"{target}.{place}", f"{source}.{layer}", f"{source}.bn{place + 1}")
    mapping.leave_out("conv_head.*", "bn2.*", "classifier.*", "*.num_batches_tracked")


def map_torchvision(mapping: Mapping, config: ModelConfig) -> None:
    _map_stem(mapping, "features.0.0", "features.0.1")
    for place, (row, _, target) in enumerate(_places()):
        source = f"features.{place + 1}.conv"
        last = 1 if row == 0 else 2
        for layer in range(last):
            mapping.conv_norm(f"{target}.{layer}", f"{source}.{layer}.0", f"{source}.{layer}.1")
        mapping.conv_norm(f"{target}.{last}", f"{source}.{last}", f"{source}.{last + 1}")
    mapping.leave_out("features.18.*", "classifier.*", "*.num_batches_tracked")


def _map_stem(mapping: Mapping, convolution: str, norm: str) -> None:
    mapping.conv_norm("visual.stem", convolution, norm)
    mapping.stays_fresh = ("visual.pool.",)
    mapping.pixel_layers.append(("visual.stem.0.weight", "visual.stem.1.moving_mean"))
