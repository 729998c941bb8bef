"""The contrast with hard labels that several terms take of further pairings of their features."""

from lightclip_ms import losses

HARD = 0  # label phase


def mean_contrast(own, everyone, pairings, logit_scale, rank: int):
    """Mean over `pairings` of the symmetric contrastive loss of this rank's rows, float32 scalar.

    Args:
        own, everyone: tuples of float32 features of length one, [N, E] of this rank and [G, E] of all ranks.
        pairings: places (image, text) in these tuples.
    """
    loss = 0.0
    for image, text in pairings:
        rows = own[image].shape[0]
        features = own[image], own[text], everyone[image], everyone[text]
        loss = loss + losses.normalized_instance_loss(*features, logit_scale, HARD, offset=rank * rows)[0]
    return loss / len(pairings)
