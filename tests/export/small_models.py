"""Small models of every architecture with weights that leave no term out, and checkpoints of them."""

import dataclasses

import numpy as np

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.weights import TOKEN_PROJECTION, cell_arrays, write_checkpoint

TEXT = {"context_length": 20, "vocab_size": 600, "text_width": 16, "text_heads": 2, "text_layers": 4}
CONFIGS = {
    "resnet18": ModelConfig(
        image_encoder="resnet18",
        image_size=32,
        image_options={"width": 8, "depths": [2, 1, 1, 1]},
        embed_dim=16,
        **TEXT,
    ),
    "mobilenet_v2": ModelConfig(
        image_encoder="mobilenet_v2", image_size=64, image_options={"last_stride": 1}, embed_dim=16, **TEXT
    ),
    "swin_nano": ModelConfig(
        image_encoder="swin_nano",
        image_size=64,
        image_options={"embed": 12, "window": 4, "depths": [2, 2, 3, 2]},
        embed_dim=16,
        **TEXT,
    ),
}


def randomized_model(config: ModelConfig):
    """A model in evaluation mode whose scales, shifts, biases and batch statistics are all away from 0 and 1."""
    import mindspore as ms

    model = create_model(config)
    rng = np.random.default_rng(0)
    for parameter in model.get_parameters():
        values = parameter.asnumpy()
        if values.ndim == 1 and parameter.name != "logit_scale":
            zero_scale = parameter.name.endswith("gamma") and not values.any()
            values = np.abs(values + zero_scale + rng.normal(0, 0.1, values.shape)) + 0.1
            parameter.set_data(ms.Tensor(values.astype(np.float32)))
    return model.set_train(False)


def write_small_checkpoint(path, name: str = "resnet18") -> str:
    """A training checkpoint (with a token projection) of `CONFIGS[name]`; returns its path."""
    config = CONFIGS[name]
    model = randomized_model(config)
    arrays = cell_arrays(model, "model")
    channels = model.visual.stage_channels[-1]
    projection = np.random.default_rng(1).normal(size=(config.text_width, channels))
    arrays[TOKEN_PROJECTION] = projection.astype(np.float32)
    write_checkpoint(path, arrays, {"config": {"model": dataclasses.asdict(config)}})
    return str(path)


def random_pictures(config: ModelConfig, count: int) -> np.ndarray:
    """float32 [count, 3, S, S]."""
    shape = (count, 3, config.image_size, config.image_size)
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)
