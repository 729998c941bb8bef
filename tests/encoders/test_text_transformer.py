"""The text transformer against a float64 numpy forward, and what its pooling must and must not depend on."""

import mindspore as ms
import numpy as np
import pytest

import lightclip_ms  # noqa: F401
from lightclip_ms.encoders import TextTransformer
from tests.encoders import numpy_layers as oracle

VOCAB, LENGTH, WIDTH, HEADS, LAYERS, EMBED = 30, 9, 8, 2, 4, 5
SOT, EOT, MASK = 28, 29, 30


class Outputs(ms.nn.Cell):
    def __init__(self, text):
        super().__init__()
        self.text = text

    def construct(self, ids):
        stages, pooled = self.text.forward_features(ids)
        return stages + (pooled,)


@pytest.fixture(scope="module")
def text():
    ms.set_context(mode=ms.GRAPH_MODE)
    net = TextTransformer(VOCAB, LENGTH, WIDTH, HEADS, LAYERS, EMBED)
    oracle.randomize(net)
    return net


@pytest.fixture(scope="module")
def outputs(text):
    return Outputs(text)


IDS = np.array(
    [
        [SOT, 3, MASK, 0, EOT, 0, 0, 0, 0],  # a mask, whose id is larger than the end's; "!" and padding are both 0
        [SOT, 5, 6, 7, 8, 9, 10, 11, EOT],  # no padding
        [SOT, EOT, 0, 0, 0, 0, 0, 0, 0],  # no word
        [SOT, 5, EOT, 17, EOT, MASK, 4, 1, 2],  # anything may follow the first end
    ],
    np.int32,
)
ENDS = (4, 8, 1, 2)


def expected(ids, w):
    """Stages and pooled embedding of one row of ids."""
    x = w["token_embedding"][ids] + w["positional_embedding"]
    causal = np.where(np.tri(LENGTH) > 0, 0.0, -np.inf)
    stages = []
    for stage in range(4):
        x = oracle.transformer_block(
            x, w, f"stages.{stage}.0.", HEADS, lambda q, k, v, heads: oracle.attention(q, k, v, heads, causal)
        )
        stages.append(x)
    stages[-1] = oracle.layer_norm(x, w, "norm")
    return stages, stages[-1][list(ids).index(EOT)] @ w["projection.weight"].T


def test_equals_numpy(text, outputs):
    got_all = [output.asnumpy() for output in outputs(ms.Tensor(IDS))]
    w = {name.removeprefix("text."): value for name, value in oracle.weights(outputs).items()}
    for row, (ids, end) in enumerate(zip(IDS, ENDS)):
        stages, pooled = expected(ids, w)
        assert list(ids).index(EOT) == end
        for got, want in zip(got_all, stages):
            np.testing.assert_allclose(got[row], want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got_all[4][row], pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(text(ms.Tensor(IDS)).asnumpy(), got_all[4], rtol=1e-5, atol=1e-6)


def test_tokens_after_the_end_change_nothing_and_words_before_it_do(text):
    before = text(ms.Tensor(IDS)).asnumpy()
    garbage = IDS.copy()
    for row, end in enumerate(ENDS):
        garbage[row, end + 1 :] = np.random.default_rng(row).integers(0, MASK + 1, LENGTH - end - 1)
    np.testing.assert_allclose(text(ms.Tensor(garbage)).asnumpy(), before, rtol=1e-6, atol=1e-6)
    other = IDS.copy()
    other[:, 0] = 2
    assert (np.abs(text(ms.Tensor(other)).asnumpy() - before).max(axis=1) > 1e-3).all()


def test_a_shorter_context_changes_nothing(text):
    short = [row for row, end in enumerate(ENDS) if end < 6]
    whole = text(ms.Tensor(IDS)).asnumpy()[short]
    np.testing.assert_allclose(text(ms.Tensor(IDS[short, :6])).asnumpy(), whole, rtol=1e-5, atol=1e-6)


def test_every_parameter_gets_a_gradient(text, outputs):
    weight = ms.Tensor(np.random.default_rng(0).standard_normal((4, EMBED), np.float32))
    parameters = text.trainable_params()

    def loss(ids):
        return (outputs(ids)[4] * weight).sum()

    gradients = ms.jit(ms.grad(loss, None, parameters))(ms.Tensor(IDS))
    for parameter, gradient in zip(parameters, gradients):
        if not parameter.name.endswith("key.bias"):  # softmax ignores what all keys share
            assert np.abs(gradient.asnumpy()).max() > 1e-6, f"{parameter.name} receives no gradient"
        if parameter.name.endswith("token_embedding"):
            reached = np.flatnonzero(np.abs(gradient.asnumpy()).max(axis=1))
            assert set(reached) == {id_ for ids, end in zip(IDS, ENDS) for id_ in ids[: end + 1]}


def test_initial_weights_are_clips():
    ms.set_seed(0)
    net = TextTransformer(514, 16, 64, 2, 8, 32)
    deviation = {name: value.std() for name, value in oracle.weights(net).items()}
    for name, want in {
        "token_embedding": 0.02,
        "positional_embedding": 0.01,
        "stages.1.0.query.weight": 64**-0.5,
        "stages.3.1.out.weight": 64**-0.5 * 16**-0.5,
        "stages.0.0.expand.weight": 128**-0.5,
        "stages.2.1.contract.weight": 64**-0.5 * 16**-0.5,
        "projection.weight": 64**-0.5,
    }.items():
        assert deviation[name] == pytest.approx(want, rel=0.1), name
    assert (net.sot_id, net.eot_id, net.mask_id) == (512, 513, 514)
    assert [len(stage) for stage in net.stages] == [2, 2, 2, 2]


def test_impossible_sizes_are_refused(text):
    with pytest.raises(ValueError, match="multiple of 4"):
        TextTransformer(VOCAB, LENGTH, WIDTH, HEADS, 6, EMBED)
    with pytest.raises(ValueError, match="3 heads do not divide the width 8"):
        TextTransformer(VOCAB, LENGTH, WIDTH, 3, 4, EMBED)
    with pytest.raises(ValueError, match=r"ids must be \[N, 9\] or shorter"):
        text(ms.Tensor(np.concatenate([IDS, IDS], axis=1)))
