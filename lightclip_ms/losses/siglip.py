"""Pairwise sigmoid loss: SigLIP (Zhai et al. 2023, Eq. 3 and Algorithm 1). N pairs on this rank, G on all ranks."""

from mindspore import ops

from lightclip_ms.losses.vectors import l2_normalize, positive_mask, promote, scalar_like, softplus


def siglip_loss(image, text, logit_scale, logit_bias, all_image=None, all_text=None, offset=0):
    """Mean over this rank's images of the sum over all texts of the binary cross-entropy "is this your text?".

    No softmax over the batch: each pair counts alone, once, on the rank of its image. The mean over ranks of this loss
    is the loss of one rank with the whole batch.

    Args:
        image, text: features of the pairs [N, E]; normalised here.
        logit_scale: 1 / temperature, a scalar tensor (already exponentiated) or a number.
        logit_bias: added to every logit, a scalar tensor or a number; the paper starts it at -10.
        all_image: not needed, as every pair is counted with its image; here so that all contrastive losses are called
            alike.
        all_text: the text features of all ranks [G, E], rank after rank; default: this rank's.
        offset: column of row 0's own text, rank * N; int or int tensor.

    Returns:
        float32 scalar (float64 for float64 features).

    Raises:
        ValueError: the shapes do not fit.
    """
    all_text = text if all_text is None else all_text
    if image.shape != text.shape or (all_image is not None and all_image.shape != all_text.shape):
        raise ValueError(f"image and text features come in pairs, got {image.shape} and {text.shape}")
    image, all_text = l2_normalize(promote(image)), l2_normalize(promote(all_text))
    cosine = ops.matmul(image, ops.transpose(all_text, (1, 0)))  # [N, G]
    logits = cosine * scalar_like(logit_scale, cosine) + scalar_like(logit_bias, cosine)
    signed = ops.where(positive_mask(logits.shape[0], logits.shape[1], offset), logits, -logits)
    return ops.mean(ops.sum(softplus(-signed), 1))  # -log sigmoid(z (t x.y + b)), z = 1 or -1
