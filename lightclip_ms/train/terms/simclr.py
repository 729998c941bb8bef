"""SLIP's self-supervision: SimCLR between two further views of each picture (Mu et al. 2022)."""

from lightclip_ms import losses
from lightclip_ms.train.terms.heads import projection_head
from lightclip_ms.train.terms.term import BatchTerm


class SimclrTerm(BatchTerm):
    """NT-Xent of the projected embeddings of two views that the contrast with the captions does not see.

    The head reads the pooled embedding; SLIP's reads the features in front of the last linear map, which encoders with
    attention pooling do not have.
    """

    parts = ("image_2", "image_3")
    features = ("image_2", "image_3")

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        self.temperature = loss.simclr_temperature
        self.head = projection_head(model.visual.embed_dim, loss.simclr_hidden, loss.simclr_width)

    def local(self, features, batch):
        return self.head(features["image_2"]), self.head(features["image_3"])

    def construct(self, own, everyone, features, batch):
        offset = self.rank * own[0].shape[0]
        return losses.simclr_loss(own[0], own[1], self.temperature, everyone[0], everyone[1], offset), ()
