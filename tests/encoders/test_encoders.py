"""One contract for every image encoder: stage sizes, parameter counts, gradients, graph mode equal to PyNative mode."""

import mindspore as ms
import numpy as np
import pytest

import lightclip_ms  # noqa: F401  (prepares the process before MindSpore is loaded)
from lightclip_ms.config.presets import preset
from lightclip_ms.encoders import create_image_encoder
from lightclip_ms.encoders.contract import ImageEncoder

SMALL_SWIN = {"embed": 16, "depths": (2, 1, 2, 1), "heads": (1, 2, 4, 8), "window": 4}
# id: (encoder, image size, E, options, stage channels, stage strides, parameters)
ENCODERS = {
    "resnet18": ("resnet18", 224, 1024, {}, (64, 128, 256, 512), (4, 8, 16, 32), 12_509_024),
    "mobilenet_v2": ("mobilenet_v2", 224, 1024, {}, (24, 32, 96, 320), (4, 8, 16, 32), 2_448_576),
    "swin_nano": ("swin_nano", 224, 512, {}, (48, 96, 192, 384), (4, 8, 16, 32), 7_111_754),
    "resnet18 96 px": ("resnet18", 96, 64, {"width": 16}, (16, 32, 64, 128), (4, 8, 16, 32), 759_512),
    "demo": (
        "resnet18",
        64,
        128,
        {"width": 24, "depths": [1, 1, 1, 1], "last_stride": 1},
        (24, 48, 96, 192),
        (4, 8, 16, 16),
        830_036,
    ),
    "mobilenet_v2 64 px": (
        "mobilenet_v2",
        64,
        64,
        {"width_mult": 0.4, "last_stride": 1},
        (16, 16, 40, 128),
        (4, 8, 16, 16),
        381_120,
    ),
    "swin 64 px": ("swin_nano", 64, 64, SMALL_SWIN, (16, 32, 64, 128), (4, 8, 16, 32), 371396),
}
SMALL = [name for name, case in ENCODERS.items() if case[1] < 224]


class Outputs(ms.nn.Cell):
    """Everything `forward_features` returns, and its tokens pooled again, flat, for a compiled call."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def construct(self, images):
        stages, tokens, pooled = self.encoder.forward_features(images)
        return stages + (tokens, pooled, self.encoder.pool_tokens(tokens))


def build(name, seed=0):
    """The encoder with random scales of its normalisations: some start at zero and would hide what is before them."""
    encoder, size, embed_dim, options = ENCODERS[name][:4]
    ms.set_seed(seed)
    net = create_image_encoder(encoder, size, embed_dim, **options)
    rng = np.random.default_rng(seed)
    for parameter in net.trainable_params():
        if parameter.name.endswith("gamma"):
            parameter.set_data(ms.Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
    images = rng.standard_normal((2, 3, size, size), np.float32)
    return net, ms.Tensor(images)


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("name", ENCODERS)
def test_declared_sizes_and_parameter_count(name):
    _, size, embed_dim, _, channels, strides, count = ENCODERS[name]
    net, images = build(name)
    assert net.image_size == size and net.embed_dim == embed_dim
    assert net.stage_channels == channels and net.stage_strides == strides
    assert sum(parameter.size for parameter in net.trainable_params()) == count
    outputs = [output.asnumpy() for output in Outputs(net)(images)]
    for stage, width, stride in zip(outputs, channels, strides):
        assert stage.shape == (2, (size // stride) ** 2, width)
    assert outputs[4].shape == outputs[3].shape
    assert outputs[5].shape == (2, embed_dim)
    np.testing.assert_allclose(outputs[6], outputs[5], rtol=1e-4, atol=1e-5)
    assert isinstance(net, ImageEncoder)
    for output in outputs:
        assert np.isfinite(output).all() and output.std() > 1e-3
    assert np.abs(outputs[5][0] - outputs[5][1]).max() > 1e-3  # the embedding depends on the picture


@pytest.mark.parametrize("name", SMALL)
def test_graph_mode_equals_pynative_mode(name):
    net, images = build(name, seed=1)
    compiled = net(images).asnumpy()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    eager = [output.asnumpy() for output in Outputs(net)(images)]
    scale = np.abs(eager[5]).max()
    np.testing.assert_allclose(compiled, eager[5], rtol=1e-3, atol=1e-4 * scale)  # also: pooled alone is the same


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name):
    net, images = build(name, seed=2)
    # Not in training mode: batch normalisation would remove the shifts before it, with exactly no gradient.
    outputs = Outputs(net).set_train(False)
    rng = np.random.default_rng(3)
    weights = [ms.Tensor(rng.standard_normal(output.shape, np.float32)) for output in outputs(images)]

    def loss(images):
        total = 0
        for output, weight in zip(outputs(images), weights):
            total += (output * weight).mean()
        return total

    parameters = net.trainable_params()
    value, gradients = ms.jit(ms.value_and_grad(loss, None, parameters))(images)
    assert np.isfinite(value.asnumpy())
    for parameter, gradient in zip(parameters, gradients):
        gradient = gradient.asnumpy()
        assert np.isfinite(gradient).all(), parameter.name
        if not parameter.name.endswith("key.bias"):  # softmax ignores what all keys share: zero in exact arithmetic
            assert np.abs(gradient).max() > 1e-7, f"{parameter.name} receives no gradient"


def test_demo_preset_is_the_demo_case():
    config = preset("lightclip_demo")
    encoder, size, _, options = ENCODERS["demo"][:4]
    assert (config.image_encoder, config.image_size, config.image_options) == (encoder, size, options)


@pytest.mark.parametrize(
    "name, size, options, message",
    [
        ("resnet19", 224, {}, "resnet18"),
        ("resnet18", 224, {"embed": 3}, "last_stride"),
        ("resnet18", 100, {}, "multiple of 32"),
        ("resnet18", 64, {"depths": (2, 2)}, "give it the form of"),
        ("resnet18", 64, {"last_stride": 3}, "1 or 2"),
        ("resnet18", 224, {"width": 20}, "multiple of 64"),
        ("mobilenet_v2", 64, {"last_stride": 3}, "1 or 2"),
        ("mobilenet_v2", 72, {"last_stride": 1}, "multiple of 16"),
        ("swin_nano", 64, {}, r"window 7 does not tile .* use one of \[2, 4, 8, 16\]"),
        ("swin_nano", 224, {"heads": (5, 6, 12, 24)}, "5 heads do not divide the width 48"),
        ("swin_nano", 224, {"depths": (2, 2)}, "give it the form of"),
        ("swin_nano", 100, {}, "multiple of 32"),
    ],
)
def test_impossible_requests_are_refused(name, size, options, message):
    with pytest.raises(ValueError, match=message):
        create_image_encoder(name, size, 64, **options)


def test_larger_swins_are_the_published_ones():
    """Swin-T of the original has 27,519,354 parameters without its classifier; ours adds the map to E."""
    net = create_image_encoder("swin_tiny", 224, 512)
    assert sum(parameter.size for parameter in net.trainable_params()) == 27_519_354 + 768 * 512 + 512
