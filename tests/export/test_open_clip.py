"""The PyTorch files: open_clip's names, and the embeddings of the model they came from."""

import json
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from safetensors import safe_open

from lightclip_ms.export.open_clip import MODULE, WEIGHTS, check_encoder, write_open_clip
from tests.export.small_models import CONFIGS, random_pictures, randomized_model


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_with_torch_alone(name, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `bench`")
    config, model = CONFIGS[name], randomized_model(CONFIGS[name])
    write_open_clip(tmp_path, model, config)
    ids = np.zeros((2, 20), np.int32)
    ids[:, 0], ids[:, 1:6], ids[0, 4], ids[1, 6] = 598, 77, 599, 599
    pictures = random_pictures(config, 2)
    np.savez(tmp_path / "inputs.npz", ids=ids, pictures=pictures)
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mindspore", "lightclip_ms", "safetensors", "open_clip"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import numpy, torch, lightclip_torch
model, config = lightclip_torch.read_model("lightclip_torch.safetensors")
inputs = numpy.load("inputs.npz")
with torch.no_grad():
    image = model.encode_image(torch.from_numpy(inputs["pictures"]))
    text = model.encode_text(torch.from_numpy(inputs["ids"]).long())
numpy.savez("features.npz", image=image.numpy(), text=text.numpy(), scale=model.logit_scale.detach().numpy())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "features.npz")
    for features, expected in (
        (found["image"], model.visual(ms.Tensor(pictures)).asnumpy()),
        (found["text"], model.text(ms.Tensor(ids)).asnumpy()),
    ):
        assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(found["scale"], model.logit_scale.asnumpy())


def test_the_text_tower_has_open_clips_names(tmp_path):
    config = CONFIGS["resnet18"]
    write_open_clip(tmp_path, randomized_model(config), config)
    with safe_open(tmp_path / WEIGHTS, framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        assert json.loads(file.metadata()["config"])["image_encoder"] == "resnet18"
    block = {
        "ln_1.weight": (16,),
        "ln_1.bias": (16,),
        "attn.in_proj_weight": (48, 16),
        "attn.in_proj_bias": (48,),
        "attn.out_proj.weight": (16, 16),
        "attn.out_proj.bias": (16,),
        "ln_2.weight": (16,),
        "ln_2.bias": (16,),
        "mlp.c_fc.weight": (64, 16),
        "mlp.c_fc.bias": (64,),
        "mlp.c_proj.weight": (16, 64),
        "mlp.c_proj.bias": (16,),
    }
    assert {name: shape for name, shape in shapes.items() if not name.startswith("visual.")} == {
        "token_embedding.weight": (600, 16),
        "positional_embedding": (20, 16),
        "ln_final.weight": (16,),
        "ln_final.bias": (16,),
        "text_projection": (16, 16),
        "logit_scale": (1,),
        **{f"transformer.resblocks.{i}.{name}": shape for i in range(4) for name, shape in block.items()},
    }
    assert (tmp_path / MODULE).read_text().startswith('"""LightCLIP in plain PyTorch')


def test_an_encoder_without_a_module_is_refused_by_name():
    with pytest.raises(ValueError, match="no image encoder mindcv/ghostnet_100: it knows resnet18"):
        check_encoder("mindcv/ghostnet_100")
