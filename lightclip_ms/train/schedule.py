"""What changes from step to step and from epoch to epoch: learning rate (paper section 4.1) and labels (Eq. 9)."""

import math

from lightclip_ms import losses

FIXED_LABELS = {"hard": 0, "smoothed": 1, "importance": 2}


def learning_rate(step: int, total_steps: int, peak: float, warmup: float = 0.05) -> float:
    """Rate of the zero-based `step`: linear from 0 to `peak` over the first `warmup` share, then a cosine to 0."""
    # The first step has a rate above 0: a step at 0 would be lost.
    warmup_steps = math.ceil(warmup * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def label_phase(loss, epoch: int, epochs: int) -> int:
    """Label kind of the zero-based `epoch` of `epochs` as a `LossConfig` wants it, see `losses.label_phase`."""
    if loss.labels in FIXED_LABELS:
        return FIXED_LABELS[loss.labels]
    return losses.label_phase(epoch, epochs, loss.r1, loss.r2)
