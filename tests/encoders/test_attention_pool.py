"""Attention pooling against float64 numpy: the output of the mean token among [mean, tokens]."""

import mindspore as ms
import numpy as np
import pytest

import lightclip_ms  # noqa: F401
from lightclip_ms.encoders.attention_pool import AttentionPool
from tests.encoders import numpy_layers as oracle


def test_equals_numpy():
    ms.set_context(mode=ms.GRAPH_MODE)
    pool = AttentionPool(128, 6)
    w = oracle.randomize(pool, std=0.1)
    tokens = np.random.default_rng(0).standard_normal((3, 7, 128))
    got = pool(ms.Tensor(tokens.astype(np.float32))).asnumpy()
    for row, sample in enumerate(tokens):
        everything = np.concatenate([sample.mean(axis=0, keepdims=True), sample])
        query, key, value = (oracle.linear(everything, w, part) for part in ("query", "key", "value"))
        want = oracle.linear(oracle.attention(query, key, value, heads=2)[0], w, "out")
        np.testing.assert_allclose(got[row], want, rtol=1e-4, atol=1e-5)


def test_width_must_be_whole_heads():
    with pytest.raises(ValueError, match="multiple of 64 channels, not 100"):
        AttentionPool(100, 6)
