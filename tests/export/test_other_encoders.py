"""Towers with options for other projects' weights, and MindCV's: written as ONNX or refused by name."""

import mindspore as ms
import numpy as np
import onnxruntime
import pytest

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.export.towers import image_tower, text_tower
from tests.export.small_models import TEXT, random_pictures, randomized_model

SWIN = {"embed": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 4, "activation": "gelu"}
ENCODERS = {
    "swin_nano": SWIN,
    "resnet18": {"width": 16, "depths": [1, 1, 1, 1], "stem_pool": "max"},
    "mindcv/mobilenet_v3_small_075": {},
    "mindcv/ghostnet_050": {},
    "mindcv/mobilevit_xx_small": {},
}


def config(encoder: str, **options) -> ModelConfig:
    text = {**TEXT, "text_activation": "gelu"}
    return ModelConfig(image_encoder=encoder, image_size=64, image_options=options, embed_dim=16, **text)


def run(written, inputs: dict) -> np.ndarray:
    return onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, inputs
    )[0]


@pytest.fixture(autouse=True)
def eager_mode():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_image_tower(encoder):
    settings = config(encoder, **ENCODERS[encoder])
    visual = randomized_model(settings).visual
    pictures = random_pictures(settings, 2)
    expected = visual(ms.Tensor(pictures)).asnumpy()
    found = run(image_tower(visual), {"images": pictures})
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_text_tower_with_gelu():
    text = randomized_model(config("swin_nano", **SWIN)).text
    ids = np.zeros((2, 20), np.int32)
    ids[:, 0], ids[:, 1:4], ids[:, 4] = text.sot_id, 5, text.eot_id
    expected = text(ms.Tensor(ids)).asnumpy()
    assert np.abs(run(text_tower(text), {"ids": ids}) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_network_that_cannot_be_written_is_refused_by_name():
    visual = randomized_model(config("mindcv/convnextv2_atto")).visual
    with pytest.raises(ValueError, match="image encoder MindCVEncoder cannot be written as ONNX: the operator LpNorm"):
        image_tower(visual)
