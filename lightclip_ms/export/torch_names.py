"""Our parameters under the names of `lightclip_torch.py`, which are open_clip's for the text tower."""

import re

import numpy as np

_ENDINGS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "token_embedding": "token_embedding.weight",
}
_BLOCK = {"norm1": "ln_1", "norm2": "ln_2", "out": "attn.out_proj", "expand": "mlp.c_fc", "contract": "mlp.c_proj"}
_JOINED = ("query", "key", "value")  # one product in a transformer block, three maps in attention pooling
_TEXT_STAGE = re.compile(r"(.*\b|^)text\.stages\.(\d+)\.(\d+)\.(.*)")


def to_torch_names(ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by our names -> by PyTorch's; query, key and value of a transformer block become one."""
    per_stage = 1 + max((int(match[3]) for match in map(_TEXT_STAGE.match, ours) if match), default=0)
    theirs = {}
    for name, array in ours.items():
        parent, _, last = name.rpartition(".")
        block, _, part = parent.rpartition(".")
        last = _ENDINGS.get(last, last)
        if f"{block}.expand.weight" in ours:  # a part of a transformer block
            if part in _JOINED:
                if part != "query":
                    continue
                array = np.concatenate([ours[f"{block}.{each}.{last}"] for each in _JOINED])
                target = f"{block}.attn.in_proj_{last}"
            else:
                target = f"{block}.{_BLOCK[part]}.{last}"
        elif name.endswith("text.projection.weight"):
            target, array = f"{block}.text_projection", array.T
        elif name.endswith(("text.norm.gamma", "text.norm.beta")):
            target = f"{block}.ln_final.{last}"
        else:
            target = f"{parent}.{last}" if parent else last
        match = _TEXT_STAGE.match(target)
        if match:
            index = int(match[2]) * per_stage + int(match[3])
            target = f"{match[1]}text.transformer.resblocks.{index}.{match[4]}"
        theirs[target] = array
    return theirs
