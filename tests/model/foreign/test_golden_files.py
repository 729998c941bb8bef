"""The golden files are what timm, torchvision and open_clip give today: needs the extra `foreign`."""

import json

import numpy as np
import pytest

torch_sources = pytest.importorskip("tests.model.foreign.torch_sources", reason="needs the extra `foreign`")


@pytest.mark.parametrize("name", torch_sources.SOURCES)
def test_the_source_gives_its_golden_file(name):
    shapes, output = torch_sources.run(name)
    content = json.loads((torch_sources.GOLDEN / f"{name}.json").read_text())
    assert shapes == content["shapes"]
    expected = np.float64(content["output"]).reshape(content["output_shape"])
    np.testing.assert_allclose(output, expected, atol=1e-7 * np.abs(expected).max())
