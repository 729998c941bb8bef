"""Instance alignment with progressively softened labels (Eq. 2-9)."""

import mindspore as ms

from lightclip_ms import losses
from lightclip_ms.train.terms.term import BatchTerm


class InstanceTerm(BatchTerm):
    """Both directions of the contrastive loss, each row against the features of all ranks.

    Logs `target_entropy`, the part of the loss that the softened labels alone make.
    """

    logs = ("target_entropy",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        self.delta, self.source = loss.delta, loss.source

    def local(self, features, batch):
        image, text = features["image"].astype(ms.float32), features["text"].astype(ms.float32)
        return losses.l2_normalize(image), losses.l2_normalize(text)

    def construct(self, own, everyone, features, batch):
        loss, entropy = losses.normalized_instance_loss(
            own[0],
            own[1],
            everyone[0],
            everyone[1],
            features["logit_scale"],
            batch["phase"],
            self.delta,
            self.rank * own[0].shape[0],
            self.source,
        )
        return loss, (entropy,)
