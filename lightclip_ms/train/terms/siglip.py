"""SigLIP's pairwise sigmoid loss (Zhai et al. 2023)."""

import mindspore as ms
from mindspore import Parameter, Tensor

from lightclip_ms import losses
from lightclip_ms.train.terms.term import BatchTerm

INITIAL_BIAS = -10.0  # the paper's: almost all pairs are no pairs


class SiglipTerm(BatchTerm):
    """Each pair of an own image and a text of any rank is classified by itself. Logs the learned `siglip_bias`."""

    logs = ("siglip_bias",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        self.bias = Parameter(Tensor([INITIAL_BIAS], ms.float32))

    def local(self, features, batch):
        return features["image"].astype(ms.float32), features["text"].astype(ms.float32)

    def construct(self, own, everyone, features, batch):
        offset = self.rank * own[0].shape[0]
        loss = losses.siglip_loss(own[0], own[1], features["logit_scale"], self.bias, everyone[0], everyone[1], offset)
        return loss, (self.bias.sum(),)
