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
        self.starts_early, self.normalizer = loss.matching == "bipartite", loss.normalizer
        self.sot_id, self.eot_id = text.sot_id, text.eot_id
        self.patches = (visual.image_size // visual.stage_strides[3]) ** 2
        self.projection = TokenProjection(visual.stage_channels[3], text.width)
        self.errors = losses.open_error_box()

    def count(self, batch):
        return losses.token_alignment_count(self._valid(batch), self.patches, self.normalizer)

    def begin(self, features, batch):
        projected = self.projection(features["image_tokens"])
        cost = losses.token_costs(projected, features["text_tokens"], self._valid(batch))
        features["projected_tokens"], features["token_costs"] = projected, cost
        features["ticket"] = losses.start_matching(cost, self._valid(batch), self.errors)
        return features

    def construct(self, features, batch):
        valid = self._valid(batch)
        if self.starts_early:
            projected, cost = features["projected_tokens"], features["token_costs"]
            patches = losses.fetch_matching(features["ticket"], valid.shape, self.errors)  # Eq. 12
            loss = losses.matched_loss(cost, patches, valid, self.normalizer)
        else:
            projected = self.projection(features["image_tokens"])
            loss = losses.paired_max_alignment_loss(projected, features["text_tokens"], valid)
        return loss, (losses.token_collapse(projected),)

    def take_error(self):
        return losses.take_matching_error(self.errors)

    def _valid(self, batch):
        return losses.token_mask(batch["text"], self.sot_id, self.eot_id)
