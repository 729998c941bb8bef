"""DeCLIP's image self-supervision: SimSiam between the first two views of each picture (Li et al. 2022)."""

from lightclip_ms import losses
from lightclip_ms.train.terms.heads import prediction_head, simsiam_projection_head
from lightclip_ms.train.terms.term import BatchTerm


class SimsiamTerm(BatchTerm):
    """Each view's prediction against the other's projection, both ways. A loss of -1 means collapse or perfection.

    Nothing is gathered: only the norms in the heads see other ranks. It compares no pairs, but its norms need the
    rank's whole batch, which accumulation gives to a `BatchTerm`.
    """

    parts = ("image_2",)
    features = ("image", "image_2")

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        self.projector = simsiam_projection_head(model.visual.embed_dim, loss.simsiam_width)
        self.predictor = prediction_head(loss.simsiam_width, loss.simsiam_hidden)

    def local(self, features, batch):
        return ()

    def construct(self, own, everyone, features, batch):
        first, second = self.projector(features["image"]), self.projector(features["image_2"])
        to_second = losses.simsiam_loss(self.predictor(first), second)
        to_first = losses.simsiam_loss(self.predictor(second), first)
        return (to_second + to_first) / 2, ()
