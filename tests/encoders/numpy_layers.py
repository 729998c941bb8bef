"""Slow float64 numpy versions of the layers, written from their definitions; oracles for the encoders' tests."""

import numpy as np


def weights(cell) -> dict:
    """Parameters of a Cell by their name within it, as float64."""
    return {name: parameter.asnumpy().astype(np.float64) for name, parameter in cell.parameters_dict().items()}


def randomize(cell, seed=0, std=0.3) -> dict:
    """Give every parameter, biases and scales included, random values; returns them as `weights` does."""
    import mindspore as ms

    rng = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
        parameter.set_data(ms.Tensor((std * rng.standard_normal(parameter.shape)).astype(np.float32)))
    return weights(cell)


def linear(x, w, name):
    """x W' + b with the parameters `name.weight` [out, in] and, where there is one, `name.bias`."""
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x, w, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.gamma"] + w[f"{name}.beta"]


def attention(query, key, value, heads, bias=None):
    """One sequence: query [Lq, D], key and value [Lk, D], bias [H, Lq, Lk] or [Lq, Lk]; head by head."""
    channels = query.shape[1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * channels, (head + 1) * channels)
        scores = query[:, part] @ key[:, part].T / np.sqrt(channels)
        if bias is not None:
            scores = scores + (bias[head] if bias.ndim == 3 else bias)
        outputs.append(softmax(scores) @ value[:, part])
    return np.concatenate(outputs, axis=1)


def transformer_block(x, w, name, heads, attend=attention):
    """Pre-LN block on one sequence [L, D]; `attend(query, key, value, heads)`."""
    y = layer_norm(x, w, f"{name}norm1")
    query, key, value = (linear(y, w, f"{name}{part}") for part in ("query", "key", "value"))
    x = x + linear(attend(query, key, value, heads), w, f"{name}out")
    y = linear(layer_norm(x, w, f"{name}norm2"), w, f"{name}expand")
    return x + linear(y / (1 + np.exp(-1.702 * y)), w, f"{name}contract")
