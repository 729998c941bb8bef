"""MindCV 0.3's networks that serve as image encoders, a table per family: names are known without loading MindCV.

Names carry the width or the size as MindCV writes them; variants that differ only in the pictures they were trained on
(`mobilenet_v2_100_192`) are left out, and so is what exceeds 100 M parameters.
"""

from dataclasses import dataclass

PREFIX = "mindcv/"


@dataclass(frozen=True)
class Family:
    """Where a family keeps its cells, and what its networks have in common.

    Args:
        cells: attributes that run one after another, up to the classifier; `name*` stands for the cells inside `name`.
        stages: how many of those cells make each stage, the first with the stem (strides 4, 8, 16, 32). Cells after
            the fourth stage belong to MindCV's classifier: a 1x1 expansion that the pooling here does without.
        networks: name -> channels of the four stages.
    """

    cells: str
    stages: tuple[int, int, int, int]
    networks: dict[str, tuple[int, int, int, int]]


FAMILIES = (
    Family(
        "features*",
        (6, 3, 7, 4),
        {
            "mobilenet_v2_035_224": (8, 16, 32, 112),
            "mobilenet_v2_050_224": (16, 16, 48, 160),
            "mobilenet_v2_075": (24, 24, 72, 240),
            "mobilenet_v2_100": (24, 32, 96, 320),
            "mobilenet_v2_130_224": (32, 40, 128, 416),
            "mobilenet_v2_140": (32, 48, 136, 448),
        },
    ),
    Family(
        "features*",
        (4, 2, 5, 3),
        {"mobilenet_v3_small_075": (16, 24, 40, 72), "mobilenet_v3_small_100": (16, 24, 48, 96)},
    ),
    Family(
        "features*",
        (6, 3, 6, 3),
        {"mobilenet_v3_large_075": (24, 32, 88, 120), "mobilenet_v3_large_100": (24, 40, 112, 160)},
    ),
    Family(
        "conv_stem bn1 act1 blocks*",
        (6, 2, 2, 2),
        {
            "ghostnet_050": (12, 20, 56, 80),
            "ghostnet_100": (24, 40, 112, 160),
            "ghostnet_130": (32, 52, 144, 208),
        },
    ),
    Family("stem_conv layers*", (4, 4, 6, 3), {"mixnet_s": (24, 40, 120, 200)}),
    Family("stem_conv layers*", (4, 4, 8, 4), {"mixnet_m": (32, 40, 120, 200), "mixnet_l": (40, 56, 160, 264)}),
    Family(
        "first_conv max_pool features*",
        (2, 4, 8, 4),
        {
            "shufflenet_v2_x0_5": (24, 48, 96, 192),
            "shufflenet_v2_x1_0": (24, 116, 232, 464),
            "shufflenet_v2_x1_5": (24, 176, 352, 704),
            "shufflenet_v2_x2_0": (24, 244, 488, 976),
        },
    ),
    Family(
        "stem stages*",
        (2, 1, 1, 1),
        {
            "regnet_x_200mf": (24, 56, 152, 368),
            "regnet_x_400mf": (32, 64, 160, 384),
            "regnet_x_600mf": (48, 96, 240, 528),
            "regnet_x_800mf": (64, 128, 288, 672),
            "regnet_x_1_6gf": (72, 168, 408, 912),
            "regnet_x_3_2gf": (96, 192, 432, 1008),
            "regnet_y_200mf": (24, 56, 152, 368),
            "regnet_y_400mf": (48, 104, 208, 440),
            "regnet_y_600mf": (48, 112, 256, 608),
            "regnet_y_800mf": (64, 128, 320, 768),
            "regnet_y_1_6gf": (48, 120, 336, 888),
            "regnet_y_3_2gf": (72, 216, 576, 1512),
            "regnet_y_4_0gf": (128, 192, 512, 1088),
        },
    ),
    Family(
        "features*",
        (11, 3, 5, 5),
        {
            "mnasnet_050": (16, 24, 48, 160),
            "mnasnet_075": (24, 32, 72, 240),
            "mnasnet_100": (24, 40, 96, 320),
            "mnasnet_130": (32, 56, 128, 416),
            "mnasnet_140": (32, 56, 136, 448),
        },
    ),
    Family(
        "features*",
        (5, 1, 2, 2),
        {
            "efficientnet_b0": (24, 40, 112, 320),
            "efficientnet_b1": (24, 40, 112, 320),
            "efficientnet_b2": (24, 48, 120, 352),
            "efficientnet_b3": (32, 48, 136, 384),
            "efficientnet_b4": (32, 56, 160, 448),
            "efficientnet_v2_m": (48, 80, 176, 512),
        },
    ),
    Family("features*", (5, 1, 2, 1), {"efficientnet_v2_s": (48, 64, 160, 256)}),
    Family(
        "conv_1 layer_1 layer_2 layer_3 layer_4 layer_5",
        (3, 1, 1, 1),
        {
            "mobilevit_xx_small": (24, 48, 64, 80),
            "mobilevit_x_small": (48, 64, 80, 96),
            "mobilevit_small": (64, 96, 128, 160),
        },
    ),
    Family(
        "stage0 stage1 stage2 stage3 stage4",
        (2, 1, 1, 1),
        {
            "repvgg_a0": (48, 96, 192, 1280),
            "repvgg_a1": (64, 128, 256, 1280),
            "repvgg_a2": (96, 192, 384, 1408),
            "repvgg_b0": (64, 128, 256, 1280),
            "repvgg_b1": (128, 256, 512, 2048),
            "repvgg_b1g2": (128, 256, 512, 2048),
            "repvgg_b1g4": (128, 256, 512, 2048),
        },
    ),
    Family(
        "feature*",
        (2, 2, 2, 2),
        {
            "convnext_tiny": (96, 192, 384, 768),
            "convnext_small": (96, 192, 384, 768),
            "convnext_base": (128, 256, 512, 1024),
            "convnextv2_atto": (40, 80, 160, 320),
            "convnextv2_femto": (48, 96, 192, 384),
            "convnextv2_pico": (64, 128, 256, 512),
            "convnextv2_nano": (80, 160, 320, 640),
            "convnextv2_tiny": (96, 192, 384, 768),
        },
    ),
    Family(
        "conv1 bn1 relu max_pool layer1 layer2 layer3 layer4",
        (5, 1, 1, 1),
        {
            "resnet18": (64, 128, 256, 512),
            "resnet34": (64, 128, 256, 512),
            "resnet50": (256, 512, 1024, 2048),
            "resnet101": (256, 512, 1024, 2048),
            "resnext50_32x4d": (256, 512, 1024, 2048),
        },
    ),
)
NETWORKS = {name: family for family in FAMILIES for name in family.networks}
