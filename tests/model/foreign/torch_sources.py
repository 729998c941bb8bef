"""Small networks of timm, torchvision and open_clip, and their outputs for random tensors: the golden files.

Needs the extra `foreign`. `python -m tests.model.foreign.torch_sources` rewrites `golden/`.
"""

import json
from pathlib import Path

import numpy as np
import torch

from tests.model.foreign.random_tensors import random_captions, random_map, random_pictures, random_tensors

GOLDEN = Path(__file__).parent / "golden"
SIZE = 64
CAPTIONS = (3, 16, 600)  # texts, positions, words


try:
    import torchvision
except (
    RuntimeError
):  # its compiled operators do not fit torch, for example a CPU build; only its Python files matter here
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm  # noqa: E402
from open_clip.model import CLIP  # noqa: E402
from timm.models.resnet import BasicBlock, ResNet  # noqa: E402
from timm.models.swin_transformer import SwinTransformer  # noqa: E402


def _resnet18d():
    channels = (16, 32, 64, 128)
    return ResNet(BasicBlock, (2, 1, 1, 1), channels=channels, stem_width=8, stem_type="deep", avg_down=True)


def _resnet18():
    return ResNet(BasicBlock, (2, 1, 1, 1))


def _mobilenetv2():
    return timm.create_model("mobilenetv2_100")


def _torchvision_mobilenet_v2():
    return torchvision.models.mobilenet_v2()


def _swin():
    return SwinTransformer(img_size=SIZE, embed_dim=16, depths=(2, 1, 2, 1), num_heads=(1, 2, 4, 8), window_size=4)


def _clip(quick_gelu: bool):
    texts, length, vocabulary = CAPTIONS
    vision = {"layers": 1, "width": 64, "head_width": 64, "patch_size": 32, "image_size": 32}
    text = {"context_length": length, "vocab_size": vocabulary, "width": 64, "heads": 2, "layers": 12}
    return CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text, quick_gelu=quick_gelu)


def _last_map(net):
    """Tokens [N, P, C] of the last stage."""
    features = net.forward_features(torch.from_numpy(random_pictures(2, SIZE)).double())
    if features.shape[-1] == 128:  # Swin keeps channels last
        return features.flatten(1, 2)
    return features.flatten(2).transpose(1, 2)


def _before_expansion(stem, blocks):
    x = stem(torch.from_numpy(random_pictures(2, SIZE)).double())
    return blocks(x).flatten(2).transpose(1, 2)


def _texts(net):
    return net.encode_text(torch.from_numpy(random_captions(*CAPTIONS)).long())


# golden file: (network, its output)
SOURCES = {
    "timm_resnet18d": (_resnet18d, _last_map),
    "timm_resnet18_first_stage": (_resnet18, lambda net: net.layer1(torch.from_numpy(random_map(1, 64, 4)).double())),
    "timm_mobilenetv2": (
        _mobilenetv2,
        lambda net: _before_expansion(torch.nn.Sequential(net.conv_stem, net.bn1), net.blocks),
    ),
    "torchvision_mobilenet_v2": (
        _torchvision_mobilenet_v2,
        lambda net: _before_expansion(net.features[0], net.features[1:18]),
    ),
    "timm_swin": (_swin, _last_map),
    "open_clip_quick_gelu": (lambda: _clip(True), _texts),
    "open_clip_gelu": (lambda: _clip(False), _texts),
}


def run(name: str) -> tuple[dict[str, list[int]], np.ndarray]:
    """(names and shapes of the source's tensors, its output for random ones, computed in float64)."""
    build, forward = SOURCES[name]
    net = build().eval()
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    kept = {key: value for key, value in net.state_dict().items() if value.dtype == torch.int64}  # index tables
    net.load_state_dict({**{key: torch.from_numpy(array) for key, array in random_tensors(shapes).items()}, **kept})
    with torch.no_grad():
        return shapes, forward(net.double()).numpy()


def main() -> None:
    for name in SOURCES:
        shapes, output = run(name)
        content = {
            "shapes": shapes,
            "output_shape": list(output.shape),
            "output": [float(f"{x:.8g}") for x in output.ravel()],
        }
        (GOLDEN / f"{name}.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
