"""What users pass by mistake: a ValueError that says what to pass."""

import numpy as np
import pytest
from PIL import Image

from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data import Tokenizer
from lightclip_ms.data.arguments import require_images, require_tokens
from lightclip_ms.data.eval_transform import eval_transform
from lightclip_ms.data.transforms import TrainTransform
from tests.data.data_files import encode, picture

PIXELS = picture()


@pytest.mark.parametrize(
    "image, message",
    [
        (PIXELS, r"array \[60, 80, 3\] of uint8: pass Image.fromarray"),
        ("cat.jpg", r"path 'cat.jpg': pass Image.open\(path\)"),
        (None, "NoneType: pass one Pillow image"),
        ([encode(PIXELS)], "list: pass one Pillow image"),
        (Image.new("RGB", (0, 5)), "empty image"),
        (b"", "empty image file"),
    ],
)
def test_transforms(image, message, tmp_path):
    for transform in (eval_transform(16), TrainTransform(16, AugmentConfig())):
        with pytest.raises(ValueError, match=message):
            transform(image)
    with pytest.raises(ValueError, match="pass Image.open"):
        eval_transform(16)(tmp_path)


def test_a_damaged_pillow_image_is_a_value_error(tmp_path):
    (tmp_path / "cut.png").write_bytes(encode(PIXELS, "PNG")[:-3000])
    with pytest.raises(ValueError, match="undecodable image"):
        eval_transform(16)(Image.open(tmp_path / "cut.png"))


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((2, 32, 32, 3), np.float32), "the colours come before the rows"),
        (np.zeros((3, 32, 32), np.float32), r"not one picture \[3, 32, 32\]: pass images\[None\]"),
        (np.zeros((2, 3, 32, 32), np.uint8), "uint8, not normalised floats: pass numpy.stack"),
        (np.zeros((2, 3, 48, 48), np.float32), r"\[N, 3, 32, 32\], not \[2, 3, 48, 48\]"),
        ([Image.new("RGB", (32, 32))], "not list: pass numpy.stack"),
        ("cat.jpg", "not str"),
    ],
)
def test_images(images, message):
    with pytest.raises(ValueError, match=message):
        require_images(images, 32)
    require_images(np.zeros((0, 3, 32, 32)), 32)


@pytest.mark.parametrize(
    "tokens, message",
    [
        ("a dog", r"token ids, not texts: pass tokenizer\(texts\)"),
        (["a dog", "a cat"], "token ids, not texts"),
        ([[1, 2, 3]], "token ids, not list"),
        (None, "token ids, not NoneType"),
        (np.zeros((0, 16), np.int32), "no text in the batch"),
        (np.zeros(16, np.int32), r"pass tokens\[None\]"),
        (np.zeros((2, 16), np.float32), "float32, not integers"),
        (np.array(["a dog"]), r"must be \[N, 16\], not \[1\]"),
    ],
)
def test_tokens(tokens, message):
    with pytest.raises(ValueError, match=message):
        require_tokens(tokens, 16)
    with pytest.raises(ValueError, match="no text in the batch"):
        require_tokens(Tokenizer(16)([]), 16)
