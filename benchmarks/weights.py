"""Name map from `lightclip_ms` to the PyTorch yardstick, for weights and for gradients."""

import numpy as np

ENDINGS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "token_embedding": "token_embedding.weight",
}


def to_torch_names(ours: dict) -> dict:
    """numpy arrays by our names -> by the yardstick's; query, key and value of a transformer block become one."""
    theirs = {}
    for name, array in ours.items():
        parent, _, last = name.rpartition(".")
        target = f"{parent}.{ENDINGS.get(last, last)}"
        block, _, part = parent.rpartition(".")
        if f"{block}.expand.weight" in ours and part in ("query", "key", "value"):
            if part != "query":
                continue
            array = np.concatenate([ours[f"{block}.{each}.{last}"] for each in ("query", "key", "value")])
            target = f"{block}.qkv.{last}"
        theirs[target] = array
    return theirs
