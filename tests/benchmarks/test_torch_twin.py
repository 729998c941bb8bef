"""The PyTorch yardstick and ours compute the same step: same weights, same batch, same terms and gradients."""

import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

torch = pytest.importorskip("torch", reason="needs the extra `bench`")

from benchmarks import mindspore_worker, torch_worker  # noqa: E402
from benchmarks.batch import make_batch  # noqa: E402
from benchmarks.compare import compare_gradients  # noqa: E402
from lightclip_ms.config.file import to_dict  # noqa: E402
from lightclip_ms.config.schema import ModelConfig  # noqa: E402
from lightclip_ms.export.torch_names import to_torch_names  # noqa: E402

TEXT = {"context_length": 12, "vocab_size": 600, "text_width": 32, "text_heads": 2, "text_layers": 4}
CASES = {  # MobileNetV2 takes minutes to compile on a busy machine; `scripts/bench_step.py` checks it at full size
    "resnet18": ModelConfig(
        "test", "resnet18", 32, {"width": 16, "depths": (1, 1, 1, 1), "last_stride": 1}, 24, **TEXT
    ),
    "swin_nano": ModelConfig(
        "test", "swin_nano", 64, {"embed": 16, "depths": (2, 2, 1, 1), "heads": (1, 2, 4, 8), "window": 8}, 24, **TEXT
    ),
}


@pytest.mark.parametrize("encoder", CASES)
def test_terms_and_gradients_agree(encoder, tmp_path):
    config = CASES[encoder]
    (tmp_path / "config.json").write_text(json.dumps({"model": to_dict(config), "loss": {"mlm_rows_per_text": 1.9}}))
    arrays = make_batch(16, config.image_size, config.context_length, config.vocab_size)
    np.savez(tmp_path / "batch.npz", **arrays)
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        _, step, names = mindspore_worker.prepare(str(tmp_path))
        ours = mindspore_worker.Gradients(step)
        objective, batch = torch_worker.load(str(tmp_path))
        for phase in (2,) if encoder == "swin_nano" else (0, 1, 2):
            terms, gradients = ours(Tensor(phase, ms.int32), *(Tensor(arrays[key]) for key in step.objective.parts))
            expected, reference = torch_worker.gradients(objective.double(), batch, phase)
            np.testing.assert_allclose(terms.asnumpy()[:4], expected, rtol=1e-4)
            found = {name: gradient.asnumpy() for name, gradient in zip(names, gradients)}
            differences = compare_gradients(to_torch_names(found), reference)
            assert differences["worst"] < 1e-4, f"phase {phase}: {differences}"
    finally:
        ms.set_context(mode=mode)
