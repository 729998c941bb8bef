"""The page as its users meet it, in Chromium: files, keys, texts, and what they read; the numbers are Python's."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment

import lightclip_ms
from lightclip_ms.eval.similarity import probabilities
from lightclip_ms.export.manifest import NAME, write_manifest
from lightclip_ms.web.routes import site_routes
from tests.web.tiny_export import GRID, write_tiny_export

TEXTS = ["a red kite in the sky", "two green turtles", "Straße & café", "a blue plate on the table"]
READY = "!document.body.hasAttribute('data-loading')"
WORDS = "[...document.querySelectorAll('#words button')]"
SHARES = "[...document.querySelectorAll('#texts li')].map((row) => Number(row.dataset.probability))"


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_tiny_export(tmp_path_factory.mktemp("web") / "exported")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of colours and shapes, and one file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(6):
        blocks = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
        blocks.resize((140, 100), Image.NEAREST).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def address(export, runtime, serve):
    with serve(site_routes(export, runtime, [])) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The browser on a freshly loaded page, with nothing that it complained about yet."""
    browser.open("about:blank")
    browser.problems.clear()
    browser.emulate(1100, 800)
    browser.open(address)
    browser.wait(READY)
    return browser


def set_texts(page, texts: list[str]) -> None:
    """Replace the page's first suggestions, with the keyboard alone."""
    page.evaluate("document.querySelector('#texts textarea').focus()")
    for number, text in enumerate(texts):
        if number == page.evaluate("document.querySelectorAll('#texts li').length"):
            page.press("Enter")
        else:
            page.evaluate(f"document.querySelectorAll('#texts textarea')[{number}].select()")
        page.type(text)


def read_problem(page) -> str:
    page.wait("!document.getElementById('problem').hidden")
    return page.evaluate("document.getElementById('problem').innerText")


def test_probabilities_are_pythons(page, export, pictures):
    page.give_files("#file", [pictures / "0.png"])
    set_texts(page, TEXTS)
    page.wait(f"{SHARES}.length === {len(TEXTS)} && {SHARES}.every(Number.isFinite)")
    model = lightclip_ms.load_exported(export)
    image = model.encode_image(model.transform((pictures / "0.png").read_bytes())[None], normalize=True)
    # Texts of different lengths one by one: padding counts in these towers.
    texts = np.concatenate([model.encode_text(model.tokenizer(text), normalize=True) for text in TEXTS])
    expected = probabilities(image, texts, model.scale)[0]
    page.wait(f"Math.abs({SHARES}.reduce((sum, share) => sum + share, 0) - 1) < 1e-6")
    np.testing.assert_allclose(page.evaluate(SHARES), expected, atol=1e-3)
    assert expected.max() < 0.99  # else this compares nothing
    best = page.evaluate("document.querySelector('#texts .best textarea').value")
    assert best == TEXTS[int(expected.argmax())]
    shown = page.evaluate("[...document.querySelectorAll('#texts output')].map((output) => output.innerText)")
    assert shown == [f"{100 * share:.1f} %" for share in page.evaluate(SHARES)]
    assert page.problems == []


def test_each_word_gets_the_patch_of_the_bipartite_matching(page, export, pictures):
    tokenizer = lightclip_ms.load_exported(export).tokenizer
    ids = tokenizer.encode(TEXTS[2])
    page.give_files("#file", [pictures / "1.png"])
    set_texts(page, TEXTS[:3])  # the last one keeps the focus, so its words are matched
    words = [tokenizer.decode([token]) for token in ids]
    page.wait(f"{WORDS}.map((word) => word.innerText).join(' ') === {json.dumps(' '.join(words))}")
    pixels = lightclip_ms.load_exported(export).transform((pictures / "1.png").read_bytes())
    patches = tokens_of(export / "image.float32.onnx", images=pixels[None])
    cosine = tokens_of(export / "text.float32.onnx", ids=np.array([ids], np.int32)) @ patches.T
    expected = dict(zip(*linear_sum_assignment(-cosine)))
    assert page.evaluate(f"{WORDS}.map((word) => Number(word.dataset.patch))") == [*expected.values()]
    page.evaluate(f"{WORDS}[1].focus()")
    row, column = divmod(int(expected[1]), GRID)
    said = page.evaluate("document.getElementById('place').innerText")
    assert said.endswith(f"row {row + 1}, column {column + 1} of {GRID} × {GRID}, cosine {cosine[1, expected[1]]:.2f}")


def tokens_of(path: Path, **inputs) -> np.ndarray:
    """Unit vectors of the `tokens` of a tower's only item."""
    tokens = onnxruntime.InferenceSession(str(path)).run(["tokens"], inputs)[0][0]
    return tokens / np.linalg.norm(tokens, axis=1, keepdims=True)


def test_search_ranks_the_gallery_as_python_does(page, export, pictures):
    page.evaluate("location.hash = 'search'")
    page.wait("document.activeElement.id === 'query'")
    page.give_files("#files", [pictures / f"{index}.png" for index in range(6)] + [pictures / "broken.png"])
    page.type(TEXTS[0])
    page.wait("document.querySelectorAll('.ranked output:not(:empty)').length === 6")
    assert "broken.png is not a picture that this browser can read" in read_problem(page)
    page.wait("document.getElementById('count').innerText === '6 pictures, 1 could not be read'")
    model = lightclip_ms.load_exported(export)
    images = [model.transform((pictures / f"{index}.png").read_bytes()) for index in range(6)]
    query = model.encode_text(model.tokenizer(TEXTS[0]), normalize=True)[0]
    cosines = model.encode_image(np.stack(images), normalize=True) @ query
    order = page.evaluate("[...document.querySelectorAll('#gallery img')].map((image) => image.alt)")
    assert order == [f"{index}.png" for index in np.argsort(-cosines)]
    shown = page.evaluate("[...document.querySelectorAll('#gallery output')].map((output) => Number(output.innerText))")
    np.testing.assert_allclose(shown, -np.sort(-cosines), atol=1e-3)


def test_an_unreadable_picture_is_named_and_the_page_goes_on(page, pictures):
    page.give_files("#file", [pictures / "broken.png"])
    assert read_problem(page).startswith("broken.png is not a picture that this browser can read; try a PNG")
    page.give_files("#file", [pictures / "0.png"])
    page.wait(f"{SHARES}.every(Number.isFinite) && document.getElementById('problem').hidden")


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_pictures_can_be_pasted_and_dropped(page, pictures, event):
    content = list((pictures / "2.png").read_bytes())
    page.evaluate(
        f"""(() => {{
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from({content})], "given.png", {{ type: "image/png" }}));
          const init = {{ bubbles: true, cancelable: true }};
          const events = {{
            paste: () => new ClipboardEvent("paste", {{ ...init, clipboardData: data }}),
            drop: () => new DragEvent("drop", {{ ...init, dataTransfer: data }}),
          }};
          document.body.dispatchEvent(events.{event}());
        }})()"""
    )
    page.wait(f"document.getElementById('shown').alt === 'given.png' && {SHARES}.every(Number.isFinite)")


def test_everything_can_be_done_with_the_keyboard(page):
    reached = []
    for _ in range(12):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.innerText || 'text'"))
    assert reached[:4] == ["Name a picture", "Search pictures", "file", "text"] and "add" in reached
    set_texts(page, ["one"])
    page.press("Enter")
    assert page.evaluate("document.querySelectorAll('#texts li').length") == 4
    page.press("Backspace")  # in the new, empty text: it goes, and the one before has the focus
    assert page.evaluate("document.querySelectorAll('#texts li').length") == 3
    assert page.evaluate("document.activeElement.value") == page.evaluate(
        "document.querySelectorAll('#texts textarea')[2].value"
    )


def test_nothing_leaves_the_page(page, address):
    with pytest.raises(RuntimeError, match="Failed to fetch"):
        page.evaluate("fetch('https://example.com/', { mode: 'no-cors' })")
    assert "Content Security Policy" in " ".join(page.problems)
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded and all(name.startswith((address, f"blob:{address}")) for name in loaded)


def test_it_is_readable_on_a_phone_in_both_schemes(page, pictures):
    page.give_files("#file", [pictures / "0.png"])
    for dark in (False, True):
        page.emulate(320, 640, dark=dark, mobile=True)
        for view in ("name", "search"):
            page.evaluate(f"location.hash = '{view}'")
            page.wait(f"!document.getElementById('{view}').hidden")
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
        for selector, ground in (
            (".note", "body"),
            ("#texts textarea", "#texts li"),
            ("nav a", "nav"),
            ("footer", "body"),
        ):
            assert contrast(page, selector, ground) >= 4.5, (selector, dark)  # WCAG 2, AA


def contrast(page, text: str, ground: str) -> float:
    """Ratio of luminances of an element's text and another's background."""
    style = "getComputedStyle(document.querySelector('{}')).{}"
    colours = [
        page.evaluate(style.format(selector, name)) for selector, name in ((text, "color"), (ground, "backgroundColor"))
    ]
    values = np.array([[int(value) for value in re.findall(r"\d+", colour)[:3]] for colour in colours]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


def rewritten(folder: Path, change) -> None:
    """Write a folder's manifest again after `change` of its content, as an exporter of another kind would have."""
    content = json.loads((folder / NAME).read_text())
    change(content)
    for key in ("format", "version", "files", "digest"):
        content.pop(key)
    (folder / NAME).unlink()
    write_manifest(folder, content)


def opset_99(folder: Path) -> None:
    model = onnx.load(folder / "image.float32.onnx")
    model.opset_import[0].version = 99
    onnx.save(model, folder / "image.float32.onnx")
    rewritten(folder, lambda content: content["onnx"].update(opset=99))


def test_another_opset_is_refused_by_name(browser, runtime, serve, tmp_path):
    folder = write_tiny_export(tmp_path / "exported")
    opset_99(folder)
    with serve(site_routes(folder, runtime, [])) as address:
        browser.open(address)
        problem = read_problem(browser)
    assert (
        problem.startswith("image.float32.onnx (opset 99) was refused by onnxruntime-web")
        and "export it again" in problem
    )


@pytest.mark.parametrize(
    "route, body, words",
    [
        (
            "/model/text.float32.onnx",
            None,
            "model/text.float32.onnx is missing from the exported folder",
        ),
        ("/model/merges.txt", b"a b\n", "merges.txt has 4 bytes instead of"),
        ("/model/manifest.json", b'{"format": "other"}', "not an export that this page reads"),
        (
            "/runtime/ort.wasm.min.mjs",
            None,
            "onnxruntime-web is not beside the model; start",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_explained(browser, export, runtime, serve, route, body, words):
    routes = site_routes(export, runtime, [])
    del routes[route]
    if body is not None:
        routes[route] = lambda: body
    with serve(routes) as address:
        browser.open(address)
        assert words in read_problem(browser)


def test_a_changed_file_is_noticed(browser, export, runtime, serve):
    content = bytearray((export / "text.float32.onnx").read_bytes())
    content[-1] ^= 1
    routes = site_routes(export, runtime, []) | {"/model/text.float32.onnx": lambda: bytes(content)}
    with serve(routes) as address:
        browser.open(address)
        assert "text.float32.onnx is not the file that was exported" in read_problem(browser)


def test_without_tokens_there_is_no_matching(browser, runtime, serve, pictures, tmp_path):
    folder = write_tiny_export(tmp_path / "exported", with_tokens=False)
    with serve(site_routes(folder, runtime, [])) as address:
        browser.open(address)
        browser.wait(READY)
        browser.give_files("#file", [pictures / "0.png"])
        browser.wait(f"{SHARES}.every(Number.isFinite)")
        assert browser.evaluate("document.getElementById('matching').hidden")
