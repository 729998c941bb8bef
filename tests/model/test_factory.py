"""Names, the towers' interface, and what it refuses."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import lightclip_ms
from lightclip_ms.config.presets import MODELS, preset
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.lightclip import BATCH_SIZES, LightCLIP, plan_batches

TINY = ModelConfig(
    name="lightclip_demo",
    image_encoder="resnet18",
    image_size=32,
    image_options={"width": 8},
    embed_dim=16,
    context_length=8,
    vocab_size=514,
    text_width=16,
    text_heads=2,
    text_layers=4,
)
SOT, EOT = 512, 513


@pytest.fixture(scope="module")
def model():
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    return create_model(TINY)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tokens = np.zeros((3, 8), np.int32)
    tokens[:, 0], tokens[:, 3] = SOT, EOT
    tokens[:, 1:3] = rng.integers(1, 500, (3, 2))
    return rng.standard_normal((3, 3, 32, 32), np.float32), tokens


def test_models_are_listed_without_loading_mindspore():
    code = "import sys, lightclip_ms; print(*lightclip_ms.list_models(), 'mindspore' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *names, loaded = output.stdout.split()
    assert loaded == "False" and names == sorted(MODELS)
    assert {"lightclip_resnet18", "lightclip_mobilenet_v2", "lightclip_swin_nano", "lightclip_demo"} <= set(names)
    assert output.stderr == ""


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ValueError, match="unknown model 'lightclip_resnet81'; did you mean lightclip_resnet18"):
        preset("lightclip_resnet81")
    with pytest.raises(ValueError, match="did you mean lightclip_swin"):
        lightclip_ms.get_tokenizer("swin")


def test_embeddings(model, batch):
    import mindspore as ms

    images, tokens = batch
    image, text = model.encode_image(images).asnumpy(), model.encode_text(tokens).asnumpy()
    assert image.shape == text.shape == (3, 16) and image.dtype == text.dtype == np.float32
    image_unit = image / np.linalg.norm(image, axis=1, keepdims=True)
    text_unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode_image(ms.Tensor(images), normalize=True).asnumpy(), image_unit, atol=1e-5)
    np.testing.assert_allclose(model.encode_text(ms.Tensor(tokens), normalize=True).asnumpy(), text_unit, atol=1e-5)
    both = [output.asnumpy() for output in model(ms.Tensor(images), ms.Tensor(tokens))]
    np.testing.assert_allclose(both[0], image_unit, atol=1e-5)
    np.testing.assert_allclose(both[1], text_unit, atol=1e-5)
    np.testing.assert_allclose(both[2], 1 / 0.07, rtol=1e-5)


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of the compiled batches, in order."""
    from mindspore import nn

    seen, original = [], nn.Cell.compile_and_run

    def spy(self, rows):
        seen.append(rows.shape)
        return original(self, rows)

    monkeypatch.setattr(nn.Cell, "compile_and_run", spy)
    return seen


def test_embeddings_are_those_of_the_weights_that_are_loaded_now(batch):
    """Of weights that a used model gets later, too: by `load_checkpoint`, or on every rank for an evaluation."""
    images, tokens = batch
    used, changed = create_model(TINY), create_model(TINY)
    for _ in range(2):
        before = used.encode_image(images).asnumpy(), used.encode_text(tokens).asnumpy()
        for parameter, given in zip(used.get_parameters(), changed.get_parameters()):
            parameter.set_data(given.value() + 0.01)
            given.set_data(given.value() + 0.01)
        after = used.encode_image(images).asnumpy(), used.encode_text(tokens).asnumpy()
        np.testing.assert_array_equal(after[0], changed.encode_image(images).asnumpy())
        np.testing.assert_array_equal(after[1], changed.encode_text(tokens).asnumpy())
        assert not np.allclose(after[0], before[0]) and not np.allclose(after[1], before[1])


def test_texts_are_cut_behind_the_longest(shapes):
    """Short texts run in a short context, with the embeddings of the whole one."""
    import mindspore as ms

    model = create_model(dataclasses.replace(TINY, context_length=40))
    tokens = np.zeros((2, 40), np.int32)
    tokens[:, 0], tokens[0, 15], tokens[1, 5], tokens[1, 30] = SOT, EOT, EOT, EOT
    whole = model.text(ms.Tensor(tokens)).asnumpy()
    shapes.clear()
    np.testing.assert_allclose(model.encode_text(tokens).asnumpy(), whole, rtol=1e-4, atol=1e-5)
    tokens[0, 15], tokens[0, 39] = 3, EOT
    model.encode_text(ms.Tensor(tokens))
    assert shapes == [(4, 16), (4, 40)]


def test_batches_have_few_sizes_and_waste_less_than_half():
    for count in range(300):
        sizes = plan_batches(count)
        assert set(sizes) <= set(BATCH_SIZES) and sum(sizes[:-1]) < max(count, 1)
        assert 0 <= sum(sizes) - count <= (sizes[-1] / 2 if sizes else 0)


def test_embeddings_do_not_depend_on_the_cut_or_the_mode(model, batch, shapes):
    images = np.concatenate([batch[0], 2 * batch[0]])
    whole = model.encode_image(images).asnumpy()
    alone = [model.encode_image(image[None]).asnumpy() for image in images]
    np.testing.assert_allclose(np.concatenate(alone), whole, rtol=1e-4, atol=1e-6)
    assert shapes == [(4, 3, 32, 32)] * 2 + [(1, 3, 32, 32)] * 6
    assert model.encode_image(images[:0]).shape == (0, 16)
    model.set_train(True)
    np.testing.assert_array_equal(model.encode_image(images).asnumpy(), whole)
    assert model.training
    model.set_train(False)


def test_the_public_interface_is_compiled_without_a_setting():
    """In MindSpore's eager default mode, the second call does not run the encoder's Python code again."""
    code = f"""
import numpy as np
import mindspore as ms
import lightclip_ms
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import create_model
model = create_model({TINY!r})
images = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
eager = model.visual(ms.Tensor(images)).asnumpy()
model.encode_image(images)
ms.nn.Conv2d.construct = None  # nothing but the graph can run now
print(ms.get_context("mode") == ms.PYNATIVE_MODE, np.allclose(model.encode_image(images).asnumpy(), eager, atol=1e-5))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_parameters_are_named_by_tower(model):
    names = [parameter.name for parameter in model.trainable_params()]
    assert len(set(names)) == len(names)
    assert {name.split(".")[0] for name in names} == {"visual", "text", "logit_scale"}


def test_wrong_inputs_are_refused(model, batch):
    images, tokens = batch
    with pytest.raises(ValueError, match=r"images must be \[N, 3, 32, 32\], not \[3, 32, 32, 3\]"):
        model.encode_image(images.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match=r"tokens must be \[N, 8\]"):
        model.encode_text(tokens[:, :7])
    with pytest.raises(ValueError, match="token ids must be 0 to 514"):
        model.encode_text(np.full_like(tokens, 515))
    with pytest.raises(ValueError, match="row 1 has no end-of-text"):
        model.encode_text(np.where(np.arange(3)[:, None] == 1, np.minimum(tokens, 9), tokens))


def test_towers_must_share_the_embedding():
    class Tower:
        def __init__(self, embed_dim):
            self.embed_dim = embed_dim

    with pytest.raises(ValueError, match="image 8, text 16"):
        LightCLIP(Tower(8), Tower(16))


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="resnet18: unknown option depth; it takes width, depths, last_stride"):
        create_model(ModelConfig(image_options={"depth": 3}))


def test_every_preset_names_an_encoder():
    from lightclip_ms.encoders import IMAGE_ENCODERS

    assert {config.image_encoder for config in MODELS.values()} == set(IMAGE_ENCODERS)
    for name, config in MODELS.items():
        assert config.name == name
