"""The sources that are understood, how each is recognised, and how its file is read."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import safetensors

from lightclip_ms.config.mindcv_networks import PREFIX
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.foreign import clip_text, mobilenet_v2, resnet, swin
from lightclip_ms.model.foreign.mapping import Mapping
from lightclip_ms.model.weights import FORMAT

PICKLED = (".pt", ".pth", ".bin", ".pkl", ".tar")
CONVERSION = (
    "from torch import load; from safetensors.torch import save_file; "
    "save_file({k: v.clone().contiguous() for k, v in load('%s', 'cpu', weights_only=True).items()}, '%s')"
)


@dataclass(frozen=True)
class Source:
    """One kind of file.

    Args:
        name: for the user.
        markers: tensors that only this kind has, all of them.
        encoders: image encoders here that it fits; empty: it is a text tower.
        map: fills a `Mapping` for a configuration.
    """

    name: str
    markers: tuple[str, ...]
    encoders: tuple[str, ...]
    map: Callable[[Mapping, ModelConfig], None]

    @property
    def tower(self) -> str:
        return "visual" if self.encoders else "text"


SWINS = ("swin_tiny", "swin_small", "swin_base", "swin_nano")
SOURCES = (
    Source("timm's resnet18d", ("conv1.6.weight", "layer1.0.conv1.weight"), ("resnet18",), resnet.map_deep_stem),
    Source(
        "torchvision's or timm's resnet18",
        ("conv1.weight", "layer1.0.conv1.weight"),
        ("resnet18",),
        resnet.map_plain_stem,
    ),
    Source(
        "timm's mobilenetv2",
        ("conv_stem.weight", "blocks.0.0.conv_dw.weight"),
        ("mobilenet_v2",),
        mobilenet_v2.map_timm,
    ),
    Source(
        "torchvision's mobilenet_v2",
        ("features.0.0.weight", "features.1.conv.0.0.weight"),
        ("mobilenet_v2",),
        mobilenet_v2.map_torchvision,
    ),
    Source(
        "timm's or Microsoft's Swin",
        ("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight"),
        SWINS,
        swin.map_swin,
    ),
    Source(
        "OpenAI's or open_clip's CLIP",
        ("token_embedding.weight", "transformer.resblocks.0.attn.in_proj_weight"),
        (),
        clip_text.map_text,
    ),
    Source(
        "open_clip's CLIP with its own text tower",
        ("text.token_embedding.weight", "text.transformer.resblocks.0.attn.in_proj_weight"),
        (),
        clip_text.map_text,
    ),
)


def recognise(tensors: dict[str, np.ndarray], where: str, encoder: str) -> Source:
    """The source whose tensors these are.

    Raises:
        ValueError: none is, or the configuration's image encoder `encoder` is another network.
    """
    for source in SOURCES:
        if all(marker in tensors for marker in source.markers):
            if source.encoders and encoder not in source.encoders:
                raise ValueError(
                    f"{where}: this is {source.name}, for the image encoder {' or '.join(source.encoders)}; the "
                    f"configuration has {encoder}"
                )
            return source
    known = {source.markers[0]: source.name for source in SOURCES}
    found = [
        pair for name in tensors for pair in ((name, near) for near in difflib.get_close_matches(name, known, 1, 0.8))
    ]
    nearest = f"; {found[0][0]} is nearest to {known[found[0][1]]}, which has {found[0][1]}" if found else ""
    raise ValueError(
        f"{where}: tensors of no known source (the first are {', '.join(sorted(tensors)[:3])}){nearest}; known are "
        f"{', '.join(known.values())}, and MindCV's networks for the encoders {PREFIX}..."
    )


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All tensors of a `.safetensors` file or of MindSpore's `.ckpt`.

    Raises:
        FileNotFoundError: no such file. ValueError: pickled, damaged, of another format, or this package's own.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(4)
    # PyTorch writes a zip file with a pickle in it (its magic is that of zip), and wrote a bare pickle before
    if start == b"PK\x03\x04" or start[:1] == b"\x80" or path.endswith(PICKLED):
        target = os.path.splitext(path)[0] + ".safetensors"
        raise ValueError(
            f"{path}: a pickled file can run commands when it is read, so it is not; convert it where you trust it: "
            f'python -c "{CONVERSION % (path, target)}"'
        )
    return _read_mindspore(path) if path.endswith(".ckpt") else _read_safetensors(path)


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format") == FORMAT:
                raise ValueError(
                    f"{path}: already a checkpoint of this package; train from it with model.pretrained={path}"
                )
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
            strange = [
                name for name, kind in kinds.items() if not kind.startswith(("F16", "F32", "F64", "I", "U", "BOOL"))
            ]
            if strange:
                raise ValueError(f"{path}: {strange[0]} is {kinds[strange[0]]}; save the tensors as float32 or float16")
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from None


def _read_mindspore(path: str) -> dict[str, np.ndarray]:
    import mindspore  # slow to load, and only this format needs it

    try:
        return {name: parameter.asnumpy() for name, parameter in mindspore.load_checkpoint(path).items()}
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path}: not a whole checkpoint of MindSpore ({reason})") from None
