"""MindCV's networks as image encoders: the contract, counts, nothing random, and names without loading MindCV."""

import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest

from lightclip_ms.config.mindcv_networks import FAMILIES, NETWORKS, PREFIX
from lightclip_ms.encoders import IMAGE_ENCODERS, create_image_encoder

SIZE = 64
# one of each family: trainable parameters of the tower with attention pooling to E = 512
COUNTS = {
    "mobilenet_v2_100": 2_284_224,
    "mobilenet_v3_small_100": 998_560,
    "mobilenet_v3_large_100": 3_057_328,
    "ghostnet_100": 2_756_804,
    "mixnet_s": 2_667_750,
    "mixnet_m": 3_547_526,
    "shufflenet_v2_x1_0": 2_066_280,
    "regnet_x_200mf": 3_098_128,
    "mnasnet_100": 3_162_664,
    "efficientnet_b0": 4_067_900,
    "efficientnet_v2_s": 20_176_208,
    "mobilevit_xx_small": 1_051_216,
    "repvgg_a0": 13_402_880,
    "convnextv2_atto": 3_859_272,
    "resnet18": 12_227_136,
}


@pytest.fixture(autouse=True)
def eager_mode():
    """Compiling fifteen networks would take minutes; benchmarks/mindcv_towers.py compares graph mode with this one."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


def test_there_is_a_count_for_every_family():
    assert {id(NETWORKS[network]) for network in COUNTS} == {id(family) for family in FAMILIES}


@pytest.mark.parametrize("network", COUNTS)
def test_contract_count_and_nothing_random(network):
    net = create_image_encoder(PREFIX + network, SIZE, 512).set_train(True)
    assert sum(parameter.size for parameter in net.trainable_params()) == COUNTS[network]
    names = [parameter.name for parameter in net.get_parameters()]
    assert len(set(names)) == len(names) and all(name.startswith(("stages.", "pool.", "widen.")) for name in names)
    images = ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), np.float32))
    stages, tokens, pooled = net.forward_features(images)
    assert net.stage_strides == (4, 8, 16, 32)
    for stage, width, stride in zip(stages, net.stage_channels, net.stage_strides):
        assert stage.shape == (2, (SIZE // stride) ** 2, width)
        assert np.isfinite(stage.asnumpy()).all()
    assert tokens.shape == stages[3].shape and pooled.shape == (2, 512)
    np.testing.assert_array_equal(net.pool_tokens(tokens).asnumpy(), pooled.asnumpy())
    np.testing.assert_array_equal(net(images).asnumpy(), pooled.asnumpy())  # in training mode: no dropout, no drop path


def test_every_parameter_is_mindcvs_or_the_poolings():
    from mindcv.models import create_model

    net = create_image_encoder(f"{PREFIX}mobilenet_v3_small_075", SIZE, 512)
    theirs = {name for name, _ in create_model("mobilenet_v3_small_075").parameters_and_names()}
    assert theirs == set(net.source_names) | set(net.left_out_names)
    ours = {name for name, _ in net.parameters_and_names()}
    assert ours == set(net.source_names.values()) | {name for name in ours if name.startswith(("pool.", "widen."))}


def test_wrong_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="mindcv/mobilenetv3_small.; did you mean mindcv/mobilenet_v3"):
        create_image_encoder("mindcv/mobilenetv3_small", SIZE, 512)
    with pytest.raises(ValueError, match="MindCVEncoder: image size 100 must be a multiple of 32"):
        create_image_encoder("mindcv/resnet18", 100, 512)
    with pytest.raises(ValueError, match="mindcv/resnet18: unknown option width; it takes none"):
        create_image_encoder("mindcv/resnet18", SIZE, 512, width=3)


def test_mindcv_is_loaded_for_its_own_networks_only():
    code = "import sys; from lightclip_ms.encoders import IMAGE_ENCODERS as e; print(len(e), 'mindcv' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(IMAGE_ENCODERS)), "False"]
