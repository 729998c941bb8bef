"""The text tower's fused attention: what the kernel gets, by a numpy model of what MindSpore documents for it."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms.analysis.step_graph import built_for
from lightclip_ms.encoders import ascend_layers, layers
from lightclip_ms.encoders.attention import Attention
from lightclip_ms.encoders.text_transformer import MASKED

ROWS, HEADS, LENGTH, CHANNELS = 3, 2, 7, 16
CAUSAL = np.triu(np.full((LENGTH, LENGTH), MASKED, np.float32), 1)[None, None]


def kernel(calls):
    """Softmax(Mask(scale query key')) value in layout BNSD, where 1 in the mask means discard."""

    def flash_attention_score(query, key, value, head_num, attn_mask, scalar_value, input_layout, sparse_mode):
        calls.append(attn_mask.shape)
        assert input_layout == "BNSD" and sparse_mode == 1 and query.shape[1] == head_num
        assert query.dtype == key.dtype == value.dtype == ms.float16 and attn_mask.dtype == ms.bool_
        query, key, value = (array.asnumpy().astype(np.float64) for array in (query, key, value))
        scores = scalar_value * query @ key.swapaxes(2, 3)
        scores = np.where(attn_mask.asnumpy(), -np.inf, scores)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return Tensor((weights / weights.sum(-1, keepdims=True) @ value).astype(np.float16))

    return flash_attention_score


def segment_bias() -> np.ndarray:
    """The bias of packed rows: causal, and captions of a row do not see each other; [ROWS, 1, LENGTH, LENGTH]."""
    segments = np.array([[1, 1, 1, 2, 2, 2, 2], [1] * 7, [1, 1, 2, 3, 3, 0, 0]])
    return CAUSAL + MASKED * (segments[:, None, :, None] != segments[:, None, None, :]).astype(np.float32)


@pytest.fixture(autouse=True)
def eager():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize(
    "bias, mask_shape", [(CAUSAL, (7, 7)), (segment_bias(), (3, 1, 7, 7))], ids=["causal", "packed"]
)
def test_the_kernel_computes_what_the_plain_operators_do(monkeypatch, bias, mask_shape):
    calls = []
    monkeypatch.setattr(ascend_layers.ops, "flash_attention_score", kernel(calls), raising=False)
    rng = np.random.default_rng(0)
    inputs = [Tensor(rng.standard_normal((ROWS, HEADS, LENGTH, CHANNELS)).astype(np.float16)) for _ in range(3)]
    fused = ascend_layers.MaskedAttention()(*inputs, Tensor(bias)).asnumpy()
    plain = Attention()(*(array.astype(ms.float32) for array in inputs), Tensor(bias)).asnumpy()
    assert calls == [mask_shape]
    np.testing.assert_allclose(fused, plain, atol=2e-3)


@pytest.mark.parametrize(
    "dtype, queries, channels",
    [(np.float32, LENGTH, 16), (np.float16, 1, 16), (np.float16, LENGTH, 8)],
    ids=["float32", "one query", "8 channels"],
)
def test_what_the_kernel_does_not_take_is_computed_plainly(monkeypatch, dtype, queries, channels):
    monkeypatch.setattr(ascend_layers.ops, "flash_attention_score", None, raising=False)
    rng = np.random.default_rng(1)
    query = rng.standard_normal((ROWS, HEADS, queries, channels)).astype(dtype)
    key, value = rng.standard_normal((2, ROWS, HEADS, LENGTH, channels)).astype(dtype)
    bias = np.ascontiguousarray(CAUSAL[:, :, -queries:])
    found = ascend_layers.MaskedAttention()(*(Tensor(array) for array in (query, key, value, bias)))
    expected = Attention()(*(Tensor(array) for array in (query, key, value, bias)))
    np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy())


def test_it_is_for_ascend_only():
    with built_for("Ascend"):
        assert type(layers.masked_attention()) is ascend_layers.MaskedAttention
        assert type(layers.attention()) is Attention
    assert type(layers.masked_attention()) is type(layers.attention()) is not Attention
