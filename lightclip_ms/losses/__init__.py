"""The training losses: pure functions of Tensors (`match_tokens`: numpy), float32 inside whatever the precision."""

from lightclip_ms.losses.filip import filip_loss
from lightclip_ms.losses.instance import instance_loss, label_phase, soft_targets
from lightclip_ms.losses.matching import MatchingError, match_tokens, take_matching_error
from lightclip_ms.losses.mlm import card_weight, mlm_loss, vocabulary_rows
from lightclip_ms.losses.neighbours import nearest_neighbours
from lightclip_ms.losses.paired_max import paired_max_alignment_loss
from lightclip_ms.losses.siglip import siglip_loss
from lightclip_ms.losses.simclr import simclr_loss
from lightclip_ms.losses.simsiam import simsiam_loss
from lightclip_ms.losses.tokens import token_alignment_count, token_alignment_loss, token_collapse, word_mask

__all__ = [
    "MatchingError",
    "card_weight",
    "filip_loss",
    "instance_loss",
    "label_phase",
    "match_tokens",
    "mlm_loss",
    "nearest_neighbours",
    "paired_max_alignment_loss",
    "siglip_loss",
    "simclr_loss",
    "simsiam_loss",
    "soft_targets",
    "take_matching_error",
    "token_alignment_count",
    "token_alignment_loss",
    "token_collapse",
    "vocabulary_rows",
    "word_mask",
]
