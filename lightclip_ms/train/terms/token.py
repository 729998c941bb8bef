"""Token alignment: relaxed, by bipartite matching (Eq. 10-13), or many-to-one for comparison."""

from lightclip_ms import losses
from lightclip_ms.model.fusion import TokenProjection
from lightclip_ms.train.terms.term import PairTerm


class TokenTerm(PairTerm):
    """Cost of matching the tokens of each caption with patches of its picture, one to one or each with its best.

    Logs `token_collapse`, the mean cosine between patches of one picture: the loss has no negatives, so they may all
    become one.
    """

    logs = ("token_collapse",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        visual, text = model.visual, model.text
        self.matching, self.normalizer = loss.matching, loss.normalizer
        self.sot_id, self.eot_id = text.sot_id, text.eot_id
        self.patches = (visual.image_size // visual.stage_strides[3]) ** 2
        self.projection = TokenProjection(visual.stage_channels[3], text.width)
        self.errors = losses.open_error_box()

    def count(self, batch):
        return losses.token_alignment_count(self._valid(batch), self.patches, self.normalizer)

    def construct(self, features, batch):
        projected = self.projection(features["image_tokens"])
        words, valid = features["text_tokens"], self._valid(batch)
        if self.matching == "bipartite":
            loss = losses.token_alignment_loss(projected, words, valid, self.normalizer, self.errors)
        else:
            loss = losses.paired_max_alignment_loss(projected, words, valid)
        return loss, (losses.token_collapse(projected),)

    def take_error(self):
        return losses.take_matching_error(self.errors)

    def _valid(self, batch):
        return losses.token_mask(batch["text"], self.sot_id, self.eot_id)
