"""Grad-CAM against gradients worked out by hand and by differences, and the matching of words to patches."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from lightclip_ms.encoders import create_image_encoder
from lightclip_ms.figures import grad_cam
from lightclip_ms.figures.token_matches import PatchEmbeddings, WordEmbeddings, match_words
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.weights import TOKEN_PROJECTIONS, token_projection, write_checkpoint
from tests.train.tiny_training import MODEL


def cosines(pooled, texts):
    return (pooled * texts).sum(-1) / np.linalg.norm(pooled, axis=-1)


def similarity_gradient(visual, tokens, texts):
    gradient = ops.grad(grad_cam.PooledSimilarity(visual))(Tensor(tokens), Tensor(texts))
    return gradient.asnumpy()


@pytest.fixture
def texts():
    rows = np.random.default_rng(1).normal(size=(2, 12)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_gradient_through_mean_pooling_is_the_formula(texts):
    visual = create_image_encoder("swin_nano", 32, 12, embed=12, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), window=2)
    tokens = np.random.default_rng(0).normal(size=(2, 9, visual.stage_channels[3])).astype(np.float32)
    weight, bias = visual.head.weight.asnumpy().astype(float), visual.head.bias.asnumpy().astype(float)
    pooled = tokens.mean(axis=1) @ weight.T + bias  # [N, E]
    length = np.linalg.norm(pooled, axis=1, keepdims=True)
    towards = (texts - cosines(pooled, texts)[:, None] * pooled / length) / length  # d cosine / d pooled
    expected = np.repeat((towards @ weight / 9)[:, None], 9, axis=1)
    np.testing.assert_allclose(similarity_gradient(visual, tokens, texts), expected, rtol=1e-3, atol=1e-6)


def test_gradient_through_attention_pooling_agrees_with_differences(texts):
    visual = create_image_encoder("resnet18", 64, 12, width=8, depths=(1, 1, 1, 1), last_stride=1)
    tokens = np.random.default_rng(0).normal(size=(2, 16, 64)).astype(np.float32)
    gradient = similarity_gradient(visual, tokens, texts)
    for pair, patch, channel in ((0, 0, 0), (0, 7, 13), (1, 15, 63), (1, 3, 30)):
        values = []
        for step in (0.05, -0.05):
            moved = tokens.copy()
            moved[pair, patch, channel] += step
            values.append(cosines(visual.pool(Tensor(moved)).asnumpy().astype(float), texts).sum())
        assert gradient[pair, patch, channel] == pytest.approx((values[0] - values[1]) / 0.1, rel=0.05, abs=2e-5)


def test_channels_are_weighted_by_their_mean_gradient():
    tokens = np.zeros((2, 4, 2))
    tokens[0, :, 0] = [1, 2, 3, 4]
    tokens[0, :, 1] = [0, 0, 5, 0]
    gradient = np.zeros((2, 4, 2))
    gradient[0, :, 0] = 1
    gradient[0, :, 1] = [-4, 0, 0, 0]  # a mean of -1
    gradient[1] = 1
    tokens[1] = -1
    heat = grad_cam.combine(tokens, gradient)
    np.testing.assert_allclose(heat[0], [[0.25, 0.5], [0, 1]])  # 1, 2, 3 - 5, 4; nothing below zero
    assert heat.shape == (2, 2, 2) and not heat[1].any()


def test_words_go_to_the_patches_that_look_like_them():
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(6, 5))  # D, C
    patches = rng.normal(size=(9, 5))
    chosen = [4, 0, 8, 2]
    words = patches[chosen] @ projection.T * 3
    found = match_words(patches @ projection.T, words, list("abcd"))
    assert [(match.word, match.patch) for match in found] == [
        ("a", (1, 1)),
        ("b", (0, 0)),
        ("c", (2, 2)),
        ("d", (0, 2)),
    ]
    assert all(match.cosine == pytest.approx(1) for match in found)
    more_words = np.concatenate([words, rng.normal(size=(8, 6))])
    found = match_words(patches @ projection.T, more_words, list("abcdefghijkl"))
    assert len(found) == 9 and len({match.patch for match in found}) == 9  # one to one: three words have no patch


def test_the_projection_is_that_of_the_term_that_compares_tokens(tmp_path):
    for number, name in enumerate(TOKEN_PROJECTIONS):
        write_checkpoint(tmp_path / "a.safetensors", {name: np.full((2, 3), number, np.float32)}, {})
        assert (token_projection(tmp_path / "a.safetensors") == number).all()
    write_checkpoint(tmp_path / "a.safetensors", {"model/x": np.zeros(3, np.float32)}, {})
    assert token_projection(tmp_path / "a.safetensors") is None


def test_the_embedding_space_of_patches_and_words_is_the_models_own():
    """Mean pooling and a linear map: the mean of the patches' embeddings is the picture's."""
    ms.set_seed(2)
    model = create_model(MODEL).set_train(False)
    rng = np.random.default_rng(2)
    image = Tensor(rng.normal(size=(1, 3, MODEL.image_size, MODEL.image_size)).astype(np.float32))
    patches = PatchEmbeddings(model.visual)(image).asnumpy()
    assert patches.shape == (4, MODEL.embed_dim)
    np.testing.assert_allclose(patches.mean(0), model.visual(image).asnumpy()[0], rtol=1e-4, atol=1e-6)
    sot, eot = MODEL.vocab_size - 2, MODEL.vocab_size - 1
    ids = Tensor(np.array([[sot, 5, 6, 7, eot] + [0] * (MODEL.context_length - 5)], np.int32))
    words = WordEmbeddings(model.text)(ids).asnumpy()
    np.testing.assert_allclose(words[4], model.encode_text(ids).asnumpy()[0], rtol=1e-4, atol=1e-6)
