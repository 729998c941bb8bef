"""Every map against its source's own forward; torch_sources.py wrote the sources' shapes and outputs to `golden/`."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.foreign.clip_text import spread
from lightclip_ms.model.foreign.mapping import Mapping
from lightclip_ms.model.foreign.pixels import NORMALIZATIONS, fold
from lightclip_ms.model.foreign.sources import recognise
from tests.model.foreign.random_tensors import random_captions, random_map, random_pictures, random_tensors

GOLDEN = Path(__file__).parent / "golden"
SIZE = 64
TEXT = {"context_length": 16, "vocab_size": 600, "text_width": 64, "text_heads": 2, "text_layers": 12, "embed_dim": 32}
SMALL_TEXT = {
    "context_length": 16,
    "vocab_size": 600,
    "text_width": 16,
    "text_heads": 2,
    "text_layers": 4,
    "embed_dim": 32,
}
SWIN = {"embed": 16, "depths": [2, 1, 2, 1], "heads": [1, 2, 4, 8], "window": 4}
RESNET = {"width": 16, "depths": [2, 1, 1, 1]}


def image_config(encoder: str, **options) -> ModelConfig:
    return ModelConfig(image_encoder=encoder, image_size=SIZE, image_options=options, **SMALL_TEXT)


def text_config(**changes) -> ModelConfig:
    resnet = {"width": 16, "depths": [1, 1, 1, 1]}
    return ModelConfig(**{"image_size": 32, "image_options": resnet, **TEXT, **changes})


CONFIGS = {
    "timm_resnet18d": image_config("resnet18", **RESNET, stem_pool="max"),
    "timm_mobilenetv2": image_config("mobilenet_v2"),
    "torchvision_mobilenet_v2": image_config("mobilenet_v2"),
    "timm_swin": image_config("swin_nano", **SWIN, activation="gelu"),
    "open_clip_quick_gelu": text_config(),
    "open_clip_gelu": text_config(text_activation="gelu"),
}


def golden(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A source's tensors and its output for the test's pictures or captions."""
    content = json.loads((GOLDEN / f"{name}.json").read_text())
    return random_tensors(content["shapes"]), np.float64(content["output"]).reshape(content["output_shape"])


def mapped(name: str, config: ModelConfig, tensors=None) -> Mapping:
    mapping = Mapping(golden(name)[0] if tensors is None else tensors, f"{name}.safetensors")
    recognise(mapping.tensors, mapping.where, config.image_encoder).map(mapping, config)
    return mapping


def load(config: ModelConfig, arrays: dict[str, np.ndarray]):
    """(model with the arrays in their places, names of the parameters that stayed fresh)."""
    model = create_model(config).set_train(False)
    parameters = dict(model.parameters_and_names())
    for name, array in arrays.items():
        assert tuple(parameters[name].shape) == array.shape
        parameters[name].set_data(ms.Tensor(array))
    return model, parameters.keys() - arrays.keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_output_is_the_sources(name):
    config = CONFIGS[name]
    mapping = mapped(name, config)
    model, fresh = load(config, mapping.arrays)
    expected = golden(name)[1]
    if name.startswith("open_clip"):
        found = model.text(ms.Tensor(random_captions(3, 16, 600)))
        assert not [parameter for parameter in fresh if parameter.startswith("text")]
    else:
        found = model.visual.forward_features(ms.Tensor(random_pictures(2, SIZE)))[1]
        assert {parameter.split(".")[1] for parameter in fresh if parameter.startswith("visual")} <= {"pool", "head"}
    assert np.abs(found.asnumpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_seven_by_seven_resnet_leaves_its_stem_fresh_and_says_what_differs():
    name = "timm_resnet18_first_stage"
    config = image_config("resnet18", depths=[2, 1, 1, 1])
    mapping = mapped(name, config)
    assert mapping.left_out and not any(parameter.startswith("visual.stem") for parameter in mapping.arrays)
    assert [line.split(":")[0] for line in mapping.differences] == ["stem", "shortcuts of smaller maps"]
    model, fresh = load(config, mapping.arrays)
    assert {parameter.split(".")[1] for parameter in fresh if parameter.startswith("visual")} == {"stem", "pool"}
    expected = golden(name)[1]
    found = model.visual.stages[0](ms.Tensor(random_map(1, 64, 4))).asnumpy()  # this stage has no shortcut to differ in
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_without_its_options_a_source_is_said_to_differ():
    assert "stem_pool: max" in mapped("timm_resnet18d", image_config("resnet18", **RESNET)).differences[0]
    assert "activation: gelu" in mapped("timm_swin", image_config("swin_nano", **SWIN)).differences[0]


def test_microsofts_layout_of_swin_is_the_same_network():
    """Patch merging belongs to the stage before it, not after it."""
    tensors, _ = golden("timm_swin")
    moved = {name.replace("layers.1.down", "layers.0.down"): array for name, array in tensors.items()}
    for stage in (2, 3):
        old, new = f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample"
        moved = {name.replace(old, new): array for name, array in moved.items()}
    config = image_config("swin_nano", **SWIN)
    first, second = mapped("timm_swin", config), mapped("timm_swin", config, moved)
    assert first.arrays.keys() == second.arrays.keys()
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)


@pytest.mark.parametrize(
    "layers, expected", [(12, list(range(12))), (8, [0, 2, 3, 5, 6, 8, 9, 11]), (4, [2, 5, 8, 11])]
)
def test_a_shallower_text_tower_takes_blocks_at_even_distances(layers, expected):
    mapping = mapped("open_clip_quick_gelu", text_config(text_layers=layers))
    assert spread(12, layers) == expected
    taken = {int(tensor.split(".")[2]) for tensor in mapping.origins.values() if "resblocks" in tensor}
    assert sorted(taken) == expected
    said = [line for line in mapping.differences if line.startswith("depth")]
    assert len(said) == (layers < 12) and all("12 blocks there" in line for line in said)
    last = mapping.arrays[f"text.stages.3.{layers // 4 - 1}.out.weight"]
    np.testing.assert_array_equal(last, mapping.tensors["transformer.resblocks.11.attn.out_proj.weight"])


def test_the_text_towers_sizes_may_shrink_where_that_is_exact():
    mapping = mapped("open_clip_quick_gelu", text_config(context_length=8, embed_dim=48))
    assert mapping.arrays["text.positional_embedding"].shape == (8, 64)
    assert "text.projection.weight" not in mapping.arrays
    assert any("projection: to 32 there, to 48 here" in line for line in mapping.differences)
    words = mapping.arrays["text.token_embedding"]
    np.testing.assert_allclose(words[-1], words[:-1].mean(0), rtol=1e-6)


def test_an_open_clip_model_with_its_own_text_tower_is_the_same():
    tensors, _ = golden("open_clip_quick_gelu")
    nested = {
        name if name.startswith(("visual", "logit")) else f"text.{name}": value for name, value in tensors.items()
    }
    first, second = mapped("open_clip_quick_gelu", text_config()), mapped("nested", text_config(), nested)
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)


@pytest.mark.parametrize(
    "name, config, message",
    [
        ("open_clip_gelu", text_config(text_layers=16), "12 blocks; set model.text_layers to 12 or fewer"),
        ("open_clip_gelu", text_config(text_width=32), "set model.vocab_size=600, model.text_width=64"),
        ("open_clip_gelu", text_config(context_length=20), "16 positions; set model.context_length to 16"),
        ("timm_swin", image_config("resnet18"), "this is timm's or Microsoft's Swin, for the image encoder swin_tiny"),
    ],
)
def test_what_does_not_fit_is_refused(name, config, message):
    with pytest.raises(ValueError, match=message):
        mapped(name, config)


def test_a_source_that_is_too_shallow_is_refused():
    config = image_config("swin_nano", **{**SWIN, "depths": [2, 1, 4, 1]})
    shapes = {name: tuple(parameter.shape) for name, parameter in create_model(config).parameters_and_names()}
    with pytest.raises(ValueError, match="nothing for 34 parameters .* the first is visual.stages.2.blocks.2"):
        mapped("timm_swin", config).check(shapes, "visual")


def test_every_tensor_is_accounted_for():
    tensors, _ = golden("timm_swin")
    config = image_config("swin_nano", **SWIN)
    shapes = {name: tuple(parameter.shape) for name, parameter in create_model(config).parameters_and_names()}
    missing = {name: array for name, array in tensors.items() if name != "layers.2.blocks.1.mlp.fc1.bias"}
    with pytest.raises(ValueError, match=r"swin.safetensors: tensor layers.2.blocks.1.mlp.fc1.bias is missing; it has"):
        mapped("timm_swin", config, missing)
    with pytest.raises(ValueError, match="1 tensors have no place in this model, the first is surplus"):
        mapped("timm_swin", config, {**tensors, "surplus": np.zeros(2)})
    with pytest.raises(ValueError, match=r"fc1.weight \[32, 16\] does not fit .*expand.weight \[64, 16\]"):
        wrong = {**tensors, "layers.0.blocks.0.mlp.fc1.weight": np.zeros((32, 16), np.float32)}
        mapped("timm_swin", config, wrong).check(shapes, "visual")
    with pytest.raises(ValueError, match="is its encoder as deep as the source"):
        deeper = {name.replace("blocks.0", "blocks.2"): array for name, array in tensors.items() if "layers.0" in name}
        mapped("timm_swin", config, {**tensors, **deeper}).check(shapes, "visual")


@pytest.mark.parametrize("name", ["timm_swin", "timm_resnet18d"])
def test_folding_the_pictures_normalization(name):
    """Exact where the first convolution does not pad; elsewhere only the outermost places differ."""
    config = CONFIGS[name]
    mapping = mapped(name, config)
    (mean, std), (our_mean, our_std) = NORMALIZATIONS["half"], NORMALIZATIONS["clip"]
    shape = (1, 3, 1, 1)
    pixels = np.random.default_rng(3).uniform(0, 1, (1, 3, SIZE, SIZE))
    theirs = ((pixels - np.reshape(mean, shape)) / np.reshape(std, shape)).astype(np.float32)
    ours = ((pixels - np.reshape(our_mean, shape)) / np.reshape(our_std, shape)).astype(np.float32)
    plain, _ = load(config, mapping.arrays)
    folded, _ = load(config, fold(mapping.arrays, mapping.pixel_layers, "half"))
    first = (lambda visual: visual.patch_embed) if name == "timm_swin" else (lambda visual: visual.stem[0])
    expected, found = first(plain.visual)(ms.Tensor(theirs)).asnumpy(), first(folded.visual)(ms.Tensor(ours)).asnumpy()
    inside = np.s_[..., :, :] if name == "timm_swin" else np.s_[..., 1:, 1:]
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-5)
    assert np.abs(found - expected).max() < (2e-5 if name == "timm_swin" else 0.5)
