"""DeCLIP's nearest-neighbour supervision: a similar caption of earlier batches as a further text (Li et al. 2022).

N pairs of this rank, G of all ranks, Q size of the queue, E embedding size.
"""

import mindspore as ms
from mindspore import ops

from lightclip_ms.losses import l2_normalize
from lightclip_ms.train.terms.contrast import mean_contrast
from lightclip_ms.train.terms.feature_queue import FeatureQueue
from lightclip_ms.train.terms.term import BatchTerm


class NeighbourTerm(BatchTerm):
    """Mean contrastive loss, with hard labels, of two views of a picture with the neighbour of its caption.

    The neighbour is the caption of the queue whose feature is most similar, looked up before the batch's own captions
    enter. While the queue is empty, in the first step, the loss is that of features that know nothing, log G, without
    gradient. The queue takes a batch once per step, with accumulation too.

    Logs `neighbour_cosine`, the mean cosine between captions and their neighbours.
    """

    parts = ("image_2",)
    features = ("image", "image_2", "text")
    logs = ("neighbour_cosine",)

    def __init__(self, name, model, loss, rank=0):
        super().__init__(name, model, loss, rank)
        self.queue = FeatureQueue(loss.queue_size, model.visual.embed_dim)

    def local(self, features, batch):
        text = ops.stop_gradient(features["text"].astype(ms.float32))
        image, image_2 = features["image"].astype(ms.float32), features["image_2"].astype(ms.float32)
        return l2_normalize(image), l2_normalize(image_2), l2_normalize(self.queue.nearest(text)), text

    def construct(self, own, everyone, features, batch):
        # Both pictures with the neighbour.
        loss = mean_contrast(own, everyone, ((0, 2), (1, 2)), features["logit_scale"], self.rank)
        self.queue(everyone[3])
        cosine = ops.sum(own[2] * l2_normalize(own[3]), 1)
        return loss, (cosine.mean(),)
