"""The training losses: pure functions of Tensors (`match_tokens`: numpy), float32 inside whatever the precision."""

from lightclip_ms.losses.filip import filip_loss
from lightclip_ms.losses.instance import (
    instance_loss,
    label_phase,
    normalized_instance_loss,
    soft_targets,
    target_entropy,
)
from lightclip_ms.losses.matching import (
    MatchingError,
    fetch_matching,
    match_tokens,
    open_error_box,
    start_matching,
    take_matching_error,
)
from lightclip_ms.losses.mlm import mlm_loss, rank_weight, vocabulary_rows
from lightclip_ms.losses.neighbours import nearest_neighbours
from lightclip_ms.losses.paired_max import paired_max_alignment_loss
from lightclip_ms.losses.siglip import siglip_loss
from lightclip_ms.losses.simclr import simclr_loss
from lightclip_ms.losses.simsiam import simsiam_loss
from lightclip_ms.losses.tokens import (
    matched_loss,
    token_alignment_count,
    token_alignment_loss,
    token_collapse,
    token_costs,
    token_mask,
)
from lightclip_ms.losses.vectors import l2_normalize

__all__ = [
    "MatchingError",
    "fetch_matching",
    "filip_loss",
    "instance_loss",
    "l2_normalize",
    "label_phase",
    "match_tokens",
    "matched_loss",
    "mlm_loss",
    "nearest_neighbours",
    "normalized_instance_loss",
    "open_error_box",
    "paired_max_alignment_loss",
    "rank_weight",
    "siglip_loss",
    "simclr_loss",
    "simsiam_loss",
    "soft_targets",
    "start_matching",
    "take_matching_error",
    "target_entropy",
    "token_alignment_count",
    "token_alignment_loss",
    "token_collapse",
    "token_costs",
    "token_mask",
    "vocabulary_rows",
]
