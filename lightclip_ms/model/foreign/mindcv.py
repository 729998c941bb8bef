"""Checkpoints of MindCV for the image encoders `mindcv/...`: the same network, under MindCV's names."""

import difflib

from lightclip_ms.model.foreign.mapping import Mapping


def map_mindcv(mapping: Mapping, encoder) -> None:
    """Every tensor of the network up to its pooling.

    MindCV's own loading ignores names it does not know and names it misses; here either is an error.

    Args:
        encoder: `encoders.mindcv.MindCVEncoder` of the network.

    Raises:
        ValueError: a tensor is missing, or unknown to the network.
    """
    unknown = sorted(mapping.tensors.keys() - encoder.source_names.keys() - set(encoder.left_out_names))
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], encoder.source_names, n=2, cutoff=0.6)
        hint = f", the nearest are {', '.join(nearest)}" if nearest else ""
        raise ValueError(
            f"{mapping.where}: {len(unknown)} tensors are not of this network, the first is {unknown[0]}{hint}"
        )
    for theirs, ours in encoder.source_names.items():
        mapping.copy(f"visual.{ours}", theirs)
    mapping.leave_out(*encoder.left_out_names)
    mapping.stays_fresh = ("visual.pool.", "visual.widen.")
    mapping.pixel_layers += _pixel_layers(mapping)


def _pixel_layers(mapping: Mapping) -> list[tuple[str, str]]:
    """The convolutions of three input channels with their bias, or the moving mean that comes next."""
    names = list(mapping.arrays)
    layers = []
    for place, name in enumerate(names):
        if (
            mapping.arrays[name].ndim == 4
            and mapping.arrays[name].shape[1] == 3
            and name.startswith("visual.stages.0.")
        ):
            shifts = (later for later in names[place:] if later.endswith((".bias", "moving_mean")))
            layers.append((name, next(shifts)))
    return layers
