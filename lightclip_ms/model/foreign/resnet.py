"""ResNet-18 of timm and torchvision: `resnet18d` with three convolutions as stem, `resnet18` with one of 7x7."""

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.foreign.mapping import Mapping

CLASSIFIER = ("fc.*", "*.num_batches_tracked")


def map_deep_stem(mapping: Mapping, config: ModelConfig) -> None:
    """timm's `resnet18d`: every tensor has its place."""
    stem = (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))
    for place, (convolution, norm) in enumerate(stem):
        mapping.conv_norm(f"visual.stem.{place}", convolution, norm)
    mapping.pixel_layers.append(("visual.stem.0.0.weight", "visual.stem.0.1.moving_mean"))
    _map_stages(mapping, config)
    mapping.leave_out(*CLASSIFIER)
    mapping.stays_fresh = ("visual.pool.",)
    if config.image_options.get("stem_pool", "average") != "max":
        mapping.differences.append(
            "pooling behind the stem: 3x3 maximum there, 2x2 average here; image_options: {stem_pool: max} is exact"
        )


def map_plain_stem(mapping: Mapping, config: ModelConfig) -> None:
    """torchvision's and timm's `resnet18`: all but the stem, which stays fresh."""
    _map_stages(mapping, config)
    mapping.leave_out("conv1.weight", "bn1.*", *CLASSIFIER)
    mapping.stays_fresh = ("visual.stem.", "visual.pool.")
    mapping.differences.append("stem: one 7x7 convolution there, three of 3x3 here: it stays fresh")
    mapping.differences.append(
        "shortcuts of smaller maps: 1x1 convolution of stride 2 there, average and 1x1 here: a start, not the same net"
    )


def _map_stages(mapping: Mapping, config: ModelConfig) -> None:
    for stage in range(4):
        block = 0
        while f"layer{stage + 1}.{block}.conv1.weight" in mapping:
            source, target = f"layer{stage + 1}.{block}", f"visual.stages.{stage}.{block}"
            mapping.conv_norm(f"{target}.first", f"{source}.conv1", f"{source}.bn1")
            mapping.conv_norm(f"{target}.second", f"{source}.conv2", f"{source}.bn2")
            # timm's "d" networks average first: downsample.0 is that pooling, without tensors
            convolution = next((i for i in (0, 1) if f"{source}.downsample.{i}.weight" in mapping), None)
            if convolution is not None:
                averages = stage < 3 or config.image_options.get("last_stride", 2) == 2
                shortcut = f"{source}.downsample.{{}}".format
                mapping.conv_norm(
                    f"{target}.shortcut.{int(averages)}", shortcut(convolution), shortcut(convolution + 1)
                )
            block += 1
