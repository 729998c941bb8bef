"""FILIP's token-wise contrast of all images and texts (Yao et al. 2022)."""

import mindspore as ms

from lightclip_ms import losses
from lightclip_ms.model.fusion import TokenProjection
from lightclip_ms.train.terms.term import BatchTerm


class FilipTerm(BatchTerm):
    """Each patch with its best token and each token with its best patch, over the pairs of all ranks.

    Memory grows with N * P * G * L, and the tokens of all ranks are gathered: a comparison for small batches.
    """

    features = ("image_tokens", "text_tokens")

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        visual, text = model.visual, model.text
        self.sot_id, self.eot_id = text.sot_id, text.eot_id
        self.projection = TokenProjection(visual.stage_channels[3], text.width)

    def local(self, features, batch):
        valid = losses.token_mask(batch["text"], self.sot_id, self.eot_id).astype(ms.float32)
        return self.projection(features["image_tokens"]), features["text_tokens"], valid

    def construct(self, own, everyone, features, batch):
        loss = losses.filip_loss(
            own[0],
            own[1],
            own[2] > 0,
            features["logit_scale"],
            everyone[0],
            everyone[1],
            everyone[2] > 0,
            self.rank * own[0].shape[0],
        )
        return loss, ()
