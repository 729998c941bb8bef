"""A whole model from other projects' weights: what they cover is taken from them, the rest is fresh."""

import os
from dataclasses import dataclass

import mindspore as ms
import numpy as np

from lightclip_ms.config.mindcv_networks import PREFIX
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.foreign.mapping import Mapping
from lightclip_ms.model.foreign.mindcv import map_mindcv
from lightclip_ms.model.foreign.pixels import fold
from lightclip_ms.model.foreign.sources import read_tensors, recognise
from lightclip_ms.model.weights import cell_arrays


@dataclass(frozen=True)
class Imported:
    """One source's share of a model."""

    name: str
    tower: str
    mapping: Mapping


def import_weights(
    paths: list[str | os.PathLike], config: ModelConfig, normalization: str, seed: int
) -> tuple[dict[str, np.ndarray], list[Imported], list[str]]:
    """Arrays of a model (`weights.cell_arrays`) with the weights of `paths`, at most one for each tower.

    Args:
        normalization: how an image tower's source normalised its pictures, a key of `pixels.NORMALIZATIONS`.
        seed: of what stays fresh.

    Returns:
        (arrays, what each source gave, parameters that stay fresh).

    Raises:
        FileNotFoundError: no such file. ValueError: a file of no known source or of another architecture, or two files
            for one tower.
    """
    sources = [(os.fspath(path), read_tensors(path)) for path in paths]
    ms.set_seed(seed)
    model = create_model(config)
    arrays = {name.removeprefix("model/"): array for name, array in cell_arrays(model, "model").items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    imported = []
    for path, tensors in sources:
        part = _map(Mapping(tensors, path), config, model)
        if part.tower in [other.tower for other in imported]:
            raise ValueError(f"{path}: the {part.tower} tower has its weights from an earlier file already; give one")
        part.mapping.check(shapes, part.tower)
        arrays.update(fold(part.mapping.arrays, part.mapping.pixel_layers, normalization))
        if part.mapping.pixel_layers and normalization != "clip":
            part.mapping.differences.append(
                f"pictures: mean and deviation of {normalization} there, CLIP's here: folded into the first convolution"
            )
        imported.append(part)
    taken = {name for part in imported for name in part.mapping.arrays}
    return {f"model/{name}": array for name, array in arrays.items()}, imported, sorted(arrays.keys() - taken)


def _map(mapping: Mapping, config: ModelConfig, model) -> Imported:
    if config.image_encoder.startswith(PREFIX) and mapping.tensors.keys() & set(model.visual.source_names):
        map_mindcv(mapping, model.visual)
        return Imported(f"MindCV's {config.image_encoder.removeprefix(PREFIX)}", "visual", mapping)
    source = recognise(mapping.tensors, mapping.where, config.image_encoder)
    source.map(mapping, config)
    return Imported(source.name, source.tower, mapping)
