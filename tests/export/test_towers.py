"""Written towers compute what MindSpore does, for any batch and length; what cannot be written is refused by name."""

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import nn

from lightclip_ms.export.graph import BATCH, Graph
from lightclip_ms.export.towers import image_tower, text_tower
from tests.export.small_models import CONFIGS, random_pictures, randomized_model

TOLERANCE = 1e-4  # relative to the largest value; MobileNet-V2 with random weights amplifies rounding


def session(model: onnx.ModelProto):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def assert_close(found, wanted):
    assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()


@pytest.fixture(scope="module", params=CONFIGS)
def case(request):
    return CONFIGS[request.param], randomized_model(CONFIGS[request.param])


def test_image_tower(case):
    config, model = case
    channels = model.visual.stage_channels[-1]
    projection = np.random.default_rng(3).normal(size=(8, channels)).astype(np.float32)
    written = image_tower(model.visual, projection)
    pictures = random_pictures(config, 3)
    features, tokens = session(written).run(["features", "tokens"], {"images": pictures})
    (_, expected_tokens, expected) = model.visual.forward_features(ms.Tensor(pictures))
    assert_close(features, expected.asnumpy())
    assert_close(tokens, expected_tokens.asnumpy() @ projection.T)
    assert_close(session(image_tower(model.visual)).run(None, {"images": pictures[1:2]})[0], features[1:2])
    operators = [node.op_type for node in written.graph.node]
    assert "BatchNormalization" not in operators  # folded, and its scale and shift with it
    assert operators.count("Conv") == sum(isinstance(cell, nn.Conv2d) for _, cell in model.visual.cells_and_names())
    assert operators.count("Mul") <= operators.count("Sigmoid") * 2 + 24  # no scale of a norm is left over
    assert (written.opset_import[0].version, written.ir_version) == (17, 8)


def test_text_tower():
    config = CONFIGS["resnet18"]
    text = randomized_model(config).text
    ids = np.zeros((3, 20), np.int32)
    ids[:, 0], ids[:, 1:] = text.sot_id, np.random.default_rng(0).integers(0, 598, (3, 19))
    ids[0, 3] = ids[0, 7] = ids[1, 19] = ids[2, 9] = text.eot_id  # the first of row 0's two counts
    stages, expected = text.forward_features(ms.Tensor(ids))
    plain, tokens = session(text_tower(text)), session(text_tower(text, with_tokens=True))
    assert_close(plain.run(None, {"ids": ids})[0], expected.asnumpy())
    found = tokens.run(["features", "tokens"], {"ids": ids})
    assert_close(found[0], expected.asnumpy())
    assert_close(found[1], stages[3].asnumpy())
    for length in (4, 5, 13):  # what follows the end of text changes nothing
        assert_close(plain.run(None, {"ids": ids[:1, :length]})[0], expected.asnumpy()[:1])


class Unwritable(nn.Cell):
    """An encoder with an operator that no table knows."""

    def __init__(self):
        super().__init__()
        self.image_size = 8
        self.sort = ms.ops.Sort()

    def forward_features(self, images):
        return (), images, self.sort(images)


def test_an_encoder_that_cannot_be_written_is_named():
    with pytest.raises(ValueError, match="image encoder Unwritable cannot be written as ONNX: the operator Sort"):
        image_tower(Unwritable())


def test_constants_are_folded_and_shared():
    graph = Graph()
    x = graph.input("x", (BATCH, 4), np.float32)
    ones = graph.constant(np.ones(4))
    y = x * (ones + 1.0) + (ones * 2.0)
    model = graph.model({"y": y}, "test")
    assert [node.op_type for node in model.graph.node] == ["Mul", "Add", "Identity"]
    assert len(model.graph.initializer) == 1  # both constants are four twos
    value = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(session(model).run(None, {"x": value})[0], 2 * value + 2)
