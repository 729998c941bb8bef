"""DeCLIP's multi-view supervision: the contrast with captions for further views of both sides (Li et al. 2022)."""

import mindspore as ms

from lightclip_ms import losses
from lightclip_ms.train.terms.contrast import mean_contrast
from lightclip_ms.train.terms.term import BatchTerm


class MultiViewTerm(BatchTerm):
    """Mean contrastive loss, with hard labels, of the three pairings of two views beside that of the first two."""

    parts = ("image_2", "text_2")
    features = ("image", "text", "image_2", "text_2")

    def local(self, features, batch):
        own = ()
        for name in self.features:
            own += (losses.l2_normalize(features[name].astype(ms.float32)),)
        return own

    def construct(self, own, everyone, features, batch):
        pairings = ((0, 3), (2, 1), (2, 3))  # places in `features`; (0, 1) is the instance term's
        return mean_contrast(own, everyone, pairings, features["logit_scale"], self.rank), ()
