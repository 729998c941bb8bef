"""Training methods by name: what each sets in the `loss` section, over the same towers, data and step.

The paper compares LightCLIP with CLIP, SLIP and DeCLIP and argues against FILIP. `method=slip` trains one of them; keys
of the `loss` section given beside it override what it sets.
"""

import difflib

from lightclip_ms.config.checks import shown

_TERMS = ("instance", "token", "mlm", "filip", "siglip", "simclr", "simsiam", "multi_view", "neighbour")
_NOTHING = {**{f"{term}_weight": 0.0 for term in _TERMS}, "mlm_heads": "text+fused"}
_CLIP = {**_NOTHING, "instance_weight": 1.0, "labels": "hard"}
METHODS = {
    "lightclip": {**_NOTHING, "instance_weight": 0.8, "token_weight": 0.1, "mlm_weight": 0.1, "labels": "progressive"},
    "clip": _CLIP,
    # CLIP and SimCLR, each with weight 1 (Mu et al. 2022)
    "slip": {**_CLIP, "simclr_weight": 1.0},
    # (1 - a - b - c) CLIP + a (SimSiam + MLM) + b multi-view + c nearest neighbour, a = b = c = 0.2 (Li et al. 2022)
    "declip": {
        **_CLIP,
        "instance_weight": 0.4,
        "simsiam_weight": 0.2,
        "mlm_weight": 0.2,
        "mlm_heads": "text",
        "multi_view_weight": 0.2,
        "neighbour_weight": 0.2,
    },
    # Half of the token-wise contrast is CLIP's: FILIP compares tokens at inference too, the evaluation here embeddings.
    "filip": {**_CLIP, "instance_weight": 0.5, "filip_weight": 0.5},
    "siglip": {**_CLIP, "instance_weight": 0.0, "siglip_weight": 1.0},
}


def loss_of_method(name: str) -> dict:
    """What the method sets in the `loss` section.

    Raises:
        ValueError: unknown name; the message offers the nearest one.
    """
    if not isinstance(name, str) or name not in METHODS:
        nearest = difflib.get_close_matches(str(name)[:100], METHODS, n=1, cutoff=0)[0]
        raise ValueError(
            f"method: {shown(name)} is not possible: use one of {', '.join(METHODS)}; did you mean {nearest}?"
        )
    return dict(METHODS[name])
