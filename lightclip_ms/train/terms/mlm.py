"""Masked language modelling, from the text alone and helped by fused image features (Eq. 14-15)."""

import math

from mindspore import ops

from lightclip_ms import losses
from lightclip_ms.data.batch import MASKING
from lightclip_ms.data.masking import most_masked
from lightclip_ms.model.fusion import MaskedLanguageHeads
from lightclip_ms.train.terms.term import PairTerm


class MlmTerm(PairTerm):
    """Mean of the heads' cross-entropies over the masked slots.

    Packed captions bound how many words can be masked, and each of them gets its logits. Without packing there are
    `mlm_rows_per_text` rows per caption, shared by the captions of a batch. Logs `mlm_left_out`, the share of masked
    tokens that found no row.
    """

    parts = MASKING
    logs = ("mlm_left_out",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        visual, text = model.visual, model.text
        self.rows_per_text, self.mask_ratio = loss.mlm_rows_per_text, loss.mask_ratio
        stages = loss.fused_stages if loss.mlm_heads == "text+fused" else ()
        self.heads = MaskedLanguageHeads(visual.stage_channels, text.width, text.heads, text.vocab_size, stages)

    def count(self, batch):
        return batch["mlm_weights"].sum()

    def construct(self, features, batch):
        rows = losses.vocabulary_rows(batch["mlm_weights"], self._row_count(batch))
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

    def _row_count(self, batch):
        """How many slots get logits: a number of the graph, from the shapes of the batch."""
        captions = batch["mlm_weights"].shape[0]
        if "packed_ids" in batch:  # decided when the graph is built
            # Clean and masked captions have the same lengths, so the masked ones fill half of the rows at most.
            return max(1, most_masked(batch["packed_ids"].size // 2, captions, self.mask_ratio))
        return math.ceil(captions * self.rows_per_text)
