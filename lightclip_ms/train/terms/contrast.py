"""The contrast with hard labels that several terms take of further pairings of their features."""

from lightclip_ms import losses

HARD = 0  # label phase


def mean_contrast(own, everyone, pairings, logit_scale, rank: int):
    """Mean over `pairings` of the symmetric contrastive loss of this rank's rows, float32 scalar.

    Args:
        own, everyone: tuples of features [N, E] of this rank and [G, E] of all ranks.
        pairings: places (image, text) in these tuples.
    """
    loss = 0.0
    for image, text in pairings:
        loss = loss + losses.instance_loss(
            own[image],
            own[text],
            logit_scale,
            HARD,
            all_image=everyone[image],
            all_text=everyone[text],
            offset=rank * own[image].shape[0],
        )
    return loss / len(pairings)
