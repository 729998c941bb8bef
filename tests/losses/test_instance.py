"""Instance alignment against the float64 oracle: values and gradients, in one compiled graph for all phases."""

from functools import cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from lightclip_ms import losses
from tests.losses import oracles

PHASES = (0, 1, 2)


def features(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@cache
def compiled(delta, source):
    def loss(image, text, scale, all_image, all_text, phase, offset):
        return losses.instance_loss(image, text, scale, phase, delta, all_image, all_text, offset, source)

    return ms.jit(ms.value_and_grad(loss, grad_position=(0, 1, 2, 3, 4)))


def value_and_grad(phase, arrays, offset=0, delta=0.2, source="logits"):
    """Loss and its gradients for (image, text, scale, all_image, all_text)."""
    value, gradients = compiled(delta, source)(
        *[Tensor(array) for array in arrays], Tensor(phase, ms.int32), Tensor(offset, ms.int32)
    )
    return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]


@pytest.mark.parametrize(
    "rows, columns, offset, scale", [(4, 4, 0, 14.3), (2, 6, 4, 5.0), (3, 3, 0, 100.0), (1, 2, 1, 1.0), (1, 1, 0, 14.3)]
)
def test_value_and_gradient_equal_the_oracle(rows, columns, offset, scale):
    arrays = [
        features(0, rows, 5),
        features(1, rows, 5),
        np.array(scale),
        features(2, columns, 5),
        features(3, columns, 5),
    ]
    for phase in PHASES:
        value, gradients = value_and_grad(phase, arrays, offset)
        fixed = oracles.instance_targets(*arrays, phase, offset=offset)
        assert value == pytest.approx(oracles.instance_loss(*arrays, fixed), rel=1e-10)
        expected = oracles.gradient(lambda *moved: oracles.instance_loss(*moved, fixed), *arrays)
        for found, wanted in zip(gradients, expected):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_targets_carry_no_gradient():
    arrays = [features(0, 4, 5), features(1, 4, 5), np.array(10.0), features(2, 4, 5), features(3, 4, 5)]
    _, gradients = value_and_grad(2, arrays)

    def moving_targets(*moved):
        return oracles.instance_loss(*moved, oracles.instance_targets(*moved, 2))

    fixed = oracles.instance_targets(*arrays, 2)
    stopped = oracles.gradient(lambda *moved: oracles.instance_loss(*moved, fixed), *arrays)
    leaking = oracles.gradient(moving_targets, *arrays)
    assert np.abs(stopped[0] - leaking[0]).max() > 1e-2, "the case cannot tell a forgotten stop-gradient"
    np.testing.assert_allclose(gradients[0], stopped[0], rtol=1e-5, atol=1e-7)


def test_importance_aware_gradient_is_a_binary_cross_entropy_on_the_positive():
    arrays = [features(0, 4, 5), features(1, 4, 5), np.array(7.0), features(2, 4, 5), features(3, 4, 5)]
    delta = 0.3

    def binary(*moved):
        total = 0.0
        for logits in oracles.instance_directions(*moved):
            positive = [np.exp(oracles.log_softmax(row))[i] for i, row in enumerate(logits)]
            total += np.mean([-(1 - delta) * np.log(p) - delta * np.log(1 - p) for p in positive])
        return total / 2

    for found, wanted in zip(value_and_grad(2, arrays, delta=delta)[1], oracles.gradient(binary, *arrays)):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("source", ["cosine", "probs"])
def test_other_sources(source):
    arrays = [features(0, 4, 5), features(1, 4, 5), np.array(12.0), features(2, 6, 5), features(3, 6, 5)]
    fixed = oracles.instance_targets(*arrays, 2, offset=1, source=source)
    value, gradients = value_and_grad(2, arrays, offset=1, source=source)
    assert value == pytest.approx(oracles.instance_loss(*arrays, fixed), rel=1e-10)
    expected = oracles.gradient(lambda *moved: oracles.instance_loss(*moved, fixed), *arrays)
    np.testing.assert_allclose(gradients[0], expected[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("phase", PHASES)
def test_soft_targets(phase):
    logits = features(0, 3, 7) * 5
    logits[1] = 2.0  # ties
    found = losses.soft_targets(Tensor(logits), Tensor(phase, ms.int32), 0.25, Tensor(2, ms.int32)).asnumpy()
    np.testing.assert_allclose(found, oracles.targets(logits, phase, 0.25, 2), atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_soft_targets_at_logit_scale_100():
    logits = 100 * np.array([[1, -1, 1, 0.99], [1, 1, -1, -1.0]], np.float32)
    found = losses.soft_targets(Tensor(logits), Tensor(2, ms.int32)).asnumpy()
    np.testing.assert_allclose(found, oracles.targets(logits.astype(float), 2), atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("epochs", [1, 3, 8, 32])
def test_label_phase(epochs):
    expected = [0 if e < 0.33 * epochs else 1 if e < 0.66 * epochs else 2 for e in range(epochs)]
    assert [losses.label_phase(e, epochs) for e in range(epochs)] == expected
    assert {losses.label_phase(e, epochs, 1, 1) for e in range(epochs)} == {0}


def test_label_phase_borders():
    assert [losses.label_phase(e, 100) for e in (0, 32, 33, 65, 66, 99)] == [0, 0, 1, 1, 2, 2]


def test_mean_over_cards_is_the_whole_batch():
    image, text, scale, cards = features(0, 6, 5), features(1, 6, 5), np.array(9.0), 3
    for phase in PHASES:
        whole, (whole_image, whole_text, whole_scale, *whole_all) = value_and_grad(
            phase, [image, text, scale, image, text]
        )
        value, gradient_image, gradient_text, gradient_scale = 0.0, np.zeros((6, 5)), np.zeros((6, 5)), 0.0
        for rank in range(cards):
            rows = slice(2 * rank, 2 * rank + 2)
            part, grads = value_and_grad(phase, [image[rows], text[rows], scale, image, text], offset=2 * rank)
            value += part / cards
            gradient_image[rows] += grads[0] / cards
            gradient_text[rows] += grads[1] / cards
            gradient_scale += grads[2] / cards
            gradient_image += grads[3] / cards  # the gather's gradient: the sum over cards
            gradient_text += grads[4] / cards
        assert value == pytest.approx(whole, rel=1e-12)
        np.testing.assert_allclose(gradient_image, whole_image + whole_all[0], atol=1e-12)
        np.testing.assert_allclose(gradient_text, whole_text + whole_all[1], atol=1e-12)
        assert gradient_scale == pytest.approx(whole_scale, rel=1e-10)


def pairs_of_length_one(kind, count):
    image, text = oracles.unit(features(0, count, 5)), oracles.unit(features(1, count, 5))
    if kind == "alike":  # every text is its picture: the positives' probabilities are 1 to rounding
        text = image.copy()
    elif kind == "one caption":
        text[:] = text[0]
    return image, text


@pytest.mark.parametrize(
    "kind, count, ranks, scale, delta, source, dtype",
    [
        ("random", 6, 2, 9.0, 0.2, "logits", np.float64),
        ("random", 6, 2, 9.0, 0.2, "cosine", np.float64),
        ("random", 6, 2, 9.0, 0.2, "probs", np.float64),
        ("random", 6, 3, 100.0, 0.0, "logits", np.float64),
        ("alike", 6, 2, 100.0, 0.3, "logits", np.float64),
        ("alike", 6, 2, 100.0, 0.3, "logits", np.float32),
        ("one caption", 4, 1, 14.3, 0.2, "logits", np.float64),
        ("random", 2, 2, 14.3, 0.2, "logits", np.float64),
        ("random", 1, 1, 14.3, 0.2, "logits", np.float64),
    ],
)
def test_features_of_length_one_equal_the_oracle_over_all_ranks(kind, count, ranks, scale, delta, source, dtype):
    """Value, entropy and gradients; those of a row are what its rank adds plus what all add for its gathered copy."""
    image, text = pairs_of_length_one(kind, count)
    rows = count // ranks

    def loss(image, text, scale, all_image, all_text, phase, offset):
        return losses.normalized_instance_loss(image, text, all_image, all_text, scale, phase, delta, offset, source)

    graph = ms.jit(ms.value_and_grad(loss, (0, 1, 2, 3, 4), has_aux=True))
    tolerance = {"rtol": 1e-5, "atol": 1e-7} if dtype == np.float64 else {"rtol": 1e-4, "atol": 2e-6}
    for phase in PHASES:
        value, entropy, scale_gradient, found = 0.0, 0.0, 0.0, np.zeros((2, count, 5))
        for rank in range(ranks):
            part = slice(rank * rows, (rank + 1) * rows)
            arrays = [Tensor(np.asarray(each, dtype)) for each in (image[part], text[part], scale, image, text)]
            (one, aux), gradients = graph(*arrays, Tensor(phase, ms.int32), Tensor(rank * rows, ms.int32))
            own_image, own_text, own_scale, all_image, all_text = (each.asnumpy() / ranks for each in gradients)
            value, entropy, scale_gradient = value + one / ranks, entropy + aux / ranks, scale_gradient + own_scale
            found[:, part] += own_image, own_text
            found += all_image, all_text
        directions = [scale * image @ text.T, scale * text @ image.T]
        fixed = [oracles.targets(logits, phase, delta, source=source, scale=scale) for logits in directions]

        def expected(image, text, scale):
            return oracles.mean_cross_entropy([scale * image @ text.T, scale * text @ image.T], fixed)

        np.testing.assert_allclose(value.asnumpy(), expected(image, text, scale), **tolerance)
        np.testing.assert_allclose(entropy.asnumpy(), oracles.entropy(fixed), **tolerance)
        of_image, of_text, of_scale = oracles.gradient(expected, image, text, np.array(scale))
        np.testing.assert_allclose(found, [of_image, of_text], **tolerance)
        np.testing.assert_allclose(scale_gradient, of_scale, **tolerance)


def test_zero_features_give_finite_gradients():
    arrays = [features(0, 3, 5), features(1, 3, 5), np.array(10.0), features(2, 3, 5), features(3, 3, 5)]
    arrays[0][1] = arrays[4][2] = 0
    value, gradients = value_and_grad(2, arrays)
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)
    fixed = oracles.instance_targets(*arrays, 2)
    assert value == pytest.approx(oracles.instance_loss(*arrays, fixed), rel=1e-10)


class Loss(nn.Cell):
    def construct(self, image, text, phase):
        return losses.instance_loss(image, text, 10.0, phase)


def test_a_new_phase_does_not_recompile_and_eager_agrees():
    image, text = features(0, 4, 5), features(1, 4, 5)
    expected = [
        oracles.instance_loss(
            image, text, 10.0, image, text, oracles.instance_targets(image, text, 10.0, image, text, phase)
        )
        for phase in PHASES
    ]
    mode = ms.get_context("mode")
    try:
        ms.set_context(mode=ms.GRAPH_MODE)
        net = Loss()
        graph = [net(Tensor(image), Tensor(text), Tensor(phase, ms.int32)).asnumpy() for phase in PHASES]
        assert len(net.compile_cache) == 1
        ms.set_context(mode=ms.PYNATIVE_MODE)
        eager = [losses.instance_loss(Tensor(image), Tensor(text), 10.0, phase).asnumpy() for phase in PHASES]
    finally:
        ms.set_context(mode=mode)
    np.testing.assert_allclose(graph, expected, rtol=1e-10)
    np.testing.assert_allclose(eager, expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [ms.float16, ms.bfloat16])
def test_half_precision_features_are_promoted(dtype):
    image, text = (Tensor(features(seed, 4, 5)).astype(dtype) for seed in (0, 1))
    found = losses.instance_loss(image, text, Tensor(100.0, ms.float32), Tensor(2, ms.int32))
    wide = [half.astype(ms.float32).asnumpy().astype(float) for half in (image, text)]
    expected = oracles.instance_loss(*wide, 100.0, *wide, oracles.instance_targets(*wide, 100.0, *wide, 2))
    assert found.dtype == ms.float32
    assert found.asnumpy() == pytest.approx(expected, rel=1e-5)


def test_bad_arguments():
    logits = Tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="unknown label source 'logit'.*cosine"):
        losses.soft_targets(logits, 2, source="logit")
    with pytest.raises(ValueError, match="3 rows but only 2 columns"):
        losses.soft_targets(Tensor(np.zeros((3, 2), np.float32)), 0)
    with pytest.raises(ValueError, match="unknown label source 'logit'.*cosine"):
        losses.instance_loss(logits, logits, 1.0, 0, source="logit")
    with pytest.raises(ValueError, match="come in pairs"):
        losses.instance_loss(logits, Tensor(np.zeros((3, 3), np.float32)), 1.0, 0)


@pytest.mark.parametrize("phase", PHASES)
def test_target_entropy_is_the_least_that_the_loss_can_be(phase):
    arrays = [features(0, 4, 5), features(1, 4, 5), np.array(6.0), features(2, 6, 5), features(3, 6, 5)]
    tensors = [Tensor(array) for array in arrays]
    found = losses.target_entropy(*tensors[:3], phase, 0.3, *tensors[3:], offset=1)
    targets = np.concatenate(oracles.instance_targets(*arrays, phase, delta=0.3, offset=1))
    logarithms = np.log(targets, out=np.zeros_like(targets), where=targets > 0)
    assert found.asnumpy() == pytest.approx(-(targets * logarithms).sum(1).mean(), abs=1e-9)
    assert phase == 0 or losses.instance_loss(*tensors[:3], phase, 0.3, *tensors[3:], offset=1) > found > 0.5


def test_target_entropy_has_no_gradient_and_float32_is_enough():
    image, text = (features(seed, 32, 8).astype(np.float32) for seed in (0, 1))

    def entropy(image, text):
        return losses.target_entropy(image, text, 100.0, Tensor(2, ms.int32))

    value, gradients = ms.value_and_grad(entropy, grad_position=(0, 1))(Tensor(image), Tensor(text))
    assert not any(gradient.asnumpy().any() for gradient in gradients)
    wide = [image.astype(float), text.astype(float)]
    targets = np.concatenate(oracles.instance_targets(*wide, 100.0, *wide, 2))
    assert value.asnumpy() == pytest.approx(-(targets * np.log(np.maximum(targets, 1e-300))).sum(1).mean(), abs=1e-5)
