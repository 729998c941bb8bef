"""Masked language modelling, from the text alone and helped by fused image features (Eq. 14-15)."""

from mindspore import ops

from lightclip_ms import losses
from lightclip_ms.data.batch import MASKING
from lightclip_ms.model.fusion import MaskedLanguageHeads
from lightclip_ms.train.terms.term import PairTerm


class MlmTerm(PairTerm):
    """Mean of the heads' cross-entropies over the masked slots.

    Logs `mlm_left_out`, the share of masked tokens that found no row among `mlm_rows_per_text` per caption.
    """

    parts = MASKING
    logs = ("mlm_left_out",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        visual, text = model.visual, model.text
        self.rows_per_text = loss.mlm_rows_per_text
        stages = loss.fused_stages if loss.mlm_heads == "text+fused" else ()
        self.heads = MaskedLanguageHeads(visual.stage_channels, text.width, text.heads, text.vocab_size, stages)

    def count(self, batch):
        return batch["mlm_weights"].sum()

    def construct(self, features, batch):
        rows = losses.vocabulary_rows(batch["mlm_weights"], self.rows_per_text)
        predictions = self.heads(features["masked_slots"], features["image_stages"], rows)
        labels = ops.gather(batch["mlm_labels"].reshape(-1), rows, 0)
        weights = ops.gather(batch["mlm_weights"].reshape(-1), rows, 0)
        loss = 0.0
        for logits in predictions:
            loss = loss + losses.mlm_loss(logits, labels, weights) / len(predictions)
        count = self.count(batch)
        return loss, ((count - weights.sum()) / ops.maximum(count, 1),)

    def advice(self, record):
        left_out = record["mlm_left_out"]
        if left_out <= 0.05:
            return ""
        return f" (no row for {left_out:.0%} of masked tokens: raise loss.mlm_rows_per_text)"
