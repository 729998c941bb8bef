"""The training-only fusion against its plain form: attention of every position, slots picked afterwards, in numpy."""

import mindspore as ms
import numpy as np
import pytest

import lightclip_ms  # noqa: F401
from lightclip_ms.model.fusion import CrossAttention, MaskedLanguageHeads, TokenProjection, one_hot, pick_slots
from tests.encoders import numpy_layers as oracle

N, L, M, D, H, V = 3, 6, 2, 8, 2, 11
CHANNELS, PATCHES = (3, 4, 5, 6), (16, 9, 4, 1)


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def plain_cross_attention(text, image, w, prefix):
    """Eq. 15 as written: convolve, project keys and values of all patches, attend."""
    tokens = image @ w[f"{prefix}conv.weight"].T
    query, key, value = (
        oracle.linear(x, w, f"{prefix}{part}") for x, part in ((text, "query"), (tokens, "key"), (tokens, "value"))
    )
    return oracle.linear(oracle.attention(query, key, value, H), w, f"{prefix}out")


def test_heads_equal_fusing_everything_then_picking():
    heads = MaskedLanguageHeads(CHANNELS, D, H, V)
    w = oracle.randomize(heads)
    rng = np.random.default_rng(1)
    text = [rng.standard_normal((N, L, D)) for _ in range(4)]
    image = [rng.standard_normal((N, patches, channels)) for patches, channels in zip(PATCHES, CHANNELS)]
    positions = np.array([[1, 3], [5, 2], [4, 0]], np.int32)
    rows = np.array([4, 0, 3, 1], np.int32)  # of 6 slots
    text_stages, image_stages = (tuple(ms.Tensor(x.astype(np.float32)) for x in stages) for stages in (text, image))
    got = heads(pick_slots(text_stages, ms.Tensor(positions)), image_stages, ms.Tensor(rows))
    want = []
    for n in range(N):
        fused = [
            text[i][n] + plain_cross_attention(text[i][n], image[i][n], w, f"attention{i + 1}.") for i in (1, 2)
        ]  # [L, D] each
        want_fused = oracle.linear(np.concatenate(fused, axis=1), w, "fused_head")[positions[n]]
        want_text = oracle.linear(text[3][n], w, "text_head")[positions[n]]
        want += zip(want_text, want_fused)
    for row, text_logits, fused_logits in zip(rows, got[0].asnumpy(), got[1].asnumpy()):
        np.testing.assert_allclose(text_logits, want[row][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fused_logits, want[row][1], rtol=1e-4, atol=1e-5)


def test_gradients_of_the_short_form_are_those_of_the_plain_form():
    attention = CrossAttention(4, D, H)
    w = oracle.randomize(attention)
    rng = np.random.default_rng(2)
    text, image, weight = rng.standard_normal((N, M, D)), rng.standard_normal((N, 5, 4)), rng.standard_normal((N, M, D))
    parameters = attention.trainable_params()
    scale = ms.Tensor(weight.astype(np.float32))

    def loss_of(text, image):
        return (attention(text, image) * scale).sum()

    gradient_of = ms.jit(ms.grad(loss_of, (0, 1), parameters))
    to_inputs, to_parameters = gradient_of(ms.Tensor(text.astype(np.float32)), ms.Tensor(image.astype(np.float32)))

    def loss():
        return sum((plain_cross_attention(text[n], image[n], w, "") * weight[n]).sum() for n in range(N))

    def check(array, gradient, name):
        for index in rng.integers(0, array.size, 4):
            kept = array.flat[index]
            values = []
            for step in (1e-5, -1e-5):
                array.flat[index] = kept + step
                values.append(loss())
            array.flat[index] = kept
            difference = (values[0] - values[1]) / 2e-5
            assert gradient.asnumpy().flat[index] == pytest.approx(difference, rel=1e-3, abs=1e-4), name

    check(text, to_inputs[0], "text")
    check(image, to_inputs[1], "image")
    for parameter, gradient in zip(parameters, to_parameters):
        check(w[parameter.name], gradient, parameter.name)


def test_picking_takes_the_named_rows():
    positions = np.array([[2, 0], [1, 1]], np.int32)
    got = one_hot(ms.Tensor(positions), 3).asnumpy()
    np.testing.assert_array_equal(got, np.eye(3)[positions])


def test_token_projection_is_linear_without_bias():
    projection = TokenProjection(5, D)
    tokens = np.random.default_rng(3).standard_normal((N, 4, 5)).astype(np.float32)
    (weight,) = oracle.weights(projection).values()
    np.testing.assert_allclose(projection(ms.Tensor(tokens)).asnumpy(), tokens @ weight.T, rtol=1e-4, atol=1e-5)
