"""The page's tokenizer, resizing and matching against the package's, SciPy's and Pillow's, in Chromium."""

import base64
import io
import json
import unicodedata

import ftfy
import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment

from lightclip_ms.data.eval_transform import EvalTransform
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.web.routes import PAGE
from tests.data.test_tokenizer import varied_texts
from tests.web.tiny_export import merges_text

EMPTY_PAGE = b"<!doctype html><title>parts</title>"


@pytest.fixture(scope="module")
def page(browser, serve):
    """The browser with the modules of the page as `tokenizer`, `picture` and `matching`."""
    routes = {f"/{path.name}": path for path in PAGE.iterdir()}
    with serve(routes | {"/": lambda: EMPTY_PAGE}) as address:
        browser.open(address)
        browser.wait("document.title === 'parts'")
        for name in ("tokenizer", "picture", "matching"):
            browser.evaluate(f"import('/{name}.js').then((module) => {{ window.{name} = module; }})")
        yield browser


def is_comparable(text: str) -> bool:
    """Whether both sides promise the same ids: no repair of a wrong encoding, no characters unknown to Unicode."""
    known = not any(unicodedata.category(char) in ("Cn", "Co", "Cs") for char in text)
    return known and ftfy.fix_encoding(text) == text


@pytest.mark.parametrize("vocab_size, context_length", [(49408, 77), (8192, 24)])
def test_ids_equal_the_packages(page, vocab_size, context_length):
    texts = [text for text in varied_texts(4000) if is_comparable(text)]
    assert len(texts) >= 2000
    create = f"tokenizer.createTokenizer({json.dumps(merges_text(vocab_size))}, {vocab_size}, {context_length})"
    found = page.evaluate(
        f"(() => {{ const t = {create}; return {json.dumps(texts)}.map((x) => [...t.encode(x)]); }})()"
    )
    ours = Tokenizer(context_length, vocab_size)
    wrong = [
        text
        for text, ids in zip(texts, found)
        if ids != [ours.sot_id, *ours.encode(text)[: context_length - 2], ours.eot_id]
    ]
    assert wrong == []


def test_each_id_reads_as_in_the_package(page):
    create = f"tokenizer.createTokenizer({json.dumps(merges_text(49408))}, 49408, 77)"
    ids = list(range(256, 49406, 97))
    found = page.evaluate(f"(() => {{ const t = {create}; return {ids}.map((id) => t.decode(id)); }})()")
    assert found == [Tokenizer().decode([id]) for id in ids]


def test_merges_of_another_model_are_refused(page):
    with pytest.raises(RuntimeError, match="The merges make 512 ids, the model has 8190"):
        page.evaluate("tokenizer.createTokenizer('', 8192, 24)")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    """Random pixels: whatever the filter does wrong shows at once."""
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, channels), np.uint8)
    return pixels.squeeze()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


PICTURES = {
    **{f"{width}x{height}": encoded(Image.fromarray(noise(width, height))) for width, height in (
        (64, 64), (65, 64), (301, 223), (31, 17), (8, 8), (8, 200), (1000, 60), (999, 667)
    )},
    "transparent": encoded(Image.fromarray(noise(120, 90, 4))),
    "grey": encoded(Image.fromarray(noise(120, 90, 1))),
    "palette with a transparent colour": encoded(Image.fromarray(noise(120, 90)).quantize(50), transparency=3),
    "16 bits": encoded(Image.fromarray(noise(120, 90, 1).astype(np.uint16) * 257)),
    "turned by EXIF": encoded(Image.fromarray(noise(120, 90)), exif=turned()),
    "lossless WebP": encoded(Image.fromarray(noise(120, 90)), "WEBP", lossless=True),
}  # fmt: skip


@pytest.mark.parametrize("size", [64, 224])
def test_pictures_are_within_one_level_of_pillows(page, size):
    for name, data in PICTURES.items():
        address = json.dumps(f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}")
        pixels = page.evaluate(
            f"""(async () => {{
              const bytes = Uint8Array.from(atob({address}.split(",")[1]), (char) => char.charCodeAt(0));
              const whole = await picture.decodePicture(new Blob([bytes]));
              return [...picture.resizeAndCrop(whole, {{ size: {size}, max_aspect: 8 }}).data];
            }})()"""
        )
        found = np.array(pixels).reshape(size, size, 4)[:, :, :3]
        assert np.abs(found - EvalTransform(size).pixels(data)).max() <= 1, name


@pytest.mark.parametrize(
    "data, words",
    [
        (b"no picture", "is not a picture that this browser can read"),
        (encoded(Image.fromarray(noise(64, 64)))[:200], "is not a picture that this browser can read"),
        (encoded(Image.fromarray(noise(64, 7))), "too small: 64 × 7 pixels"),
        (encoded(Image.new("1", (9000, 9000))), "too large: 9000 × 9000 pixels"),
    ],
    ids=["text", "cut", "small", "large"],
)
def test_an_unusable_picture_is_refused_in_words(page, data, words):
    with pytest.raises(RuntimeError, match=words):
        page.evaluate(f"picture.decodePicture(new Blob([Uint8Array.from({list(data)})]))")


def test_matching_equals_scipys(page):
    rng = np.random.default_rng(0)
    costs = [rng.normal(size=shape) for shape in ((1, 1), (3, 16), (12, 49), (20, 16), (75, 49)) for _ in range(3)]
    found = page.evaluate(f"{json.dumps([cost.tolist() for cost in costs])}.map(matching.assign)")
    for cost, patches in zip(costs, found):
        expected = dict(zip(*linear_sum_assignment(cost)))
        assert patches == [expected.get(word) for word in range(len(cost))]
