"""Demo data: same bytes for any number of workers, splits that do not leak, captions that identify their pictures."""

import io
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from lightclip_ms.demo import build, captions, compose, openmoji, splits
from lightclip_ms.demo.build import Settings, build_demo_data, is_complete
from lightclip_ms.eval.sets.captioned import CaptionShards
from lightclip_ms.eval.sets.labelled import LabelledShards
from lightclip_ms.eval.sets.prompts import load_class_names, load_templates
from tests.demo.demo_folder import SETTINGS, demo_folder


@pytest.fixture(scope="module")
def folder():
    return demo_folder()


def read_split(folder, pattern):
    """Metadata of every sample of a split, in order."""
    found = []
    for path in sorted(folder.glob(pattern)):
        with tarfile.open(path) as tar:
            found += [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
    return found


def composition(entry):
    return entry["background"], *((e["name"], e["size"], e["rotation"], tuple(e["place"])) for e in entry["emojis"])


def test_same_bytes_for_any_number_of_workers_and_nothing_done_twice(folder, tmp_path):
    again = tmp_path / "again"
    assert build_demo_data(again, SETTINGS, workers=1)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]  # nothing is left aside
    assert not build_demo_data(again, SETTINGS, workers=1)
    assert build_demo_data(again, Settings(train=5, retrieval=5), workers=1)
    with open(again / "val.tar", "r+b") as file:
        file.truncate(512)
    assert not is_complete(again, Settings(train=5, retrieval=5))


TINY = Settings(train=5, retrieval=5)


def contents(folder):
    """Bytes of every file below a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "demo"
    assert build_demo_data(folder, TINY, workers=1)
    return folder


def _manifest(folder, **changes):
    manifest = json.loads((folder / build.MANIFEST).read_text())
    (folder / build.MANIFEST).write_text(json.dumps({**manifest, **changes}))


FOREIGN = {  # what is done to a demo folder so that it is no longer only this program's
    "a file of the user's": lambda folder: (folder / "precious.txt").write_text("keep me"),
    "a folder of the user's": lambda folder: (folder / "notes").mkdir(),
    "a changed file": lambda folder: (folder / "names.txt").write_text("mine"),
    "a cut file": lambda folder: os.truncate(folder / "val.tar", 512),
    "a link in place of a file": lambda folder: (
        (folder / "names.txt").replace(folder / ".n") or (folder / "names.txt").symlink_to(".n")
    ),
    "another kind": lambda folder: _manifest(folder, kind="prepared pairs"),
    "no kind": lambda folder: _manifest(folder, kind=None),
    "another version": lambda folder: _manifest(folder, version=build.VERSION + 1),
    "no version": lambda folder: _manifest(folder, version=None),
    "files that are no checksums": lambda folder: _manifest(folder, files={"val.tar": {"sha256": "x"}}),
    "names that lead elsewhere": lambda folder: _manifest(folder, files={"../precious.txt": "x"}),
    "a manifest that is a list": lambda folder: (folder / build.MANIFEST).write_text("[]"),
    "a manifest of great depth": lambda folder: (folder / build.MANIFEST).write_text("[" * 100_000),
    "a manifest that is not UTF-8": lambda folder: (folder / build.MANIFEST).write_bytes(b"\xff\xfe"),
    "no manifest": lambda folder: (folder / build.MANIFEST).unlink(),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_folder_with_anything_of_somebody_else_is_refused_and_stays_as_it_is(tiny, tmp_path, what, monkeypatch):
    monkeypatch.setattr(build, "_write_all", lambda *arguments: pytest.fail("refused before any work"))
    folder = shutil.copytree(tiny, tmp_path / "demo")
    FOREIGN[what](folder)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="choose another --out, or remove it yourself"):
        build_demo_data(folder, Settings(train=6, retrieval=5))
    assert contents(tmp_path) == before and os.listdir(tmp_path) == ["demo"]


def test_an_earlier_folder_is_replaced_through_a_link_and_an_empty_one_is_used(tiny, tmp_path):
    target = shutil.copytree(tiny, tmp_path / "elsewhere")
    (tmp_path / "demo").symlink_to(target)
    assert build_demo_data(tmp_path / "demo", Settings(train=6, retrieval=5), workers=1)
    assert (tmp_path / "demo").is_symlink() and is_complete(target, Settings(train=6, retrieval=5))
    (tmp_path / "empty").mkdir()
    assert build_demo_data(tmp_path / "empty", TINY, workers=1)
    assert sorted(os.listdir(tmp_path)) == ["demo", "elsewhere", "empty"]


def test_what_appears_while_the_folder_is_replaced_is_kept(tiny, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny, tmp_path / "demo")

    def write(new, settings, workers):
        shutil.copytree(tiny, new, dirs_exist_ok=True)
        (folder / "precious.txt").write_text("keep me")

    monkeypatch.setattr(build, "_write_all", write)
    with pytest.raises(ValueError, match="precious.txt is no file of the demo data"):
        build_demo_data(folder, Settings(train=6, retrieval=5))
    assert (folder / "precious.txt").read_text() == "keep me" and os.listdir(tmp_path) == ["demo"]


def test_settings_are_positive():
    with pytest.raises(ValueError, match="train must be 1 or more"):
        Settings(train=0)


def test_splits_do_not_leak(folder):
    train = read_split(folder, "train-*.tar")
    assert len(train) == SETTINGS.train
    trained_on = {e["name"] for entry in train for e in entry["emojis"]}
    seen, unseen, compounds = ({emoji.name for emoji in part} for part in openmoji.split_emojis())
    assert trained_on <= seen and not seen & unseen and len(unseen) > 40
    assert not compounds & (seen | unseen)
    compositions = {composition(entry) for entry in train}
    for name in ("val", "names", "colours"):
        held_out = read_split(folder, f"{name}.tar")
        assert {e["name"] for entry in held_out for e in entry["emojis"]} <= seen
        assert not compositions & {composition(entry) for entry in held_out}
    for name, things in {"unseen": unseen, "unseen_names": unseen, "compounds": compounds}.items():
        assert {e["name"] for entry in read_split(folder, f"{name}.tar") for e in entry["emojis"]} <= things


@pytest.mark.parametrize("name", ["val", "unseen"])
def test_captions_are_distinct_and_each_fits_one_picture(folder, name):
    dataset = CaptionShards(str(folder / f"{name}.tar"))
    assert len(set(dataset.captions)) == len(dataset) == SETTINGS.retrieval
    entries = read_split(folder, f"{name}.tar")
    for entry in entries:
        said = [
            other["caption"]
            for other in entries
            if other is not entry and entry["background"] == other["background"] and entry["emojis"] == other["emojis"]
        ]
        assert not said and entry["background"] in entry["caption"]
        assert all(e["noun"] in entry["caption"] for e in entry["emojis"])
    make = splits.val_samples if name == "val" else splits.unseen_samples
    samples = make(SETTINGS.seed, SETTINGS.retrieval)
    assert [sample.caption for sample in samples] == dataset.captions


def test_fits_knows_what_was_said():
    seen = openmoji.split_emojis().seen
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = compose.sample_scene(rng, seen)
        _, said = captions.describe(scene, rng)
        assert captions.fits(said, scene)
        other_colour = next(name for name in compose.BACKGROUNDS if name != scene.background)
        assert not captions.fits(said, compose.Scene(other_colour, scene.shade, scene.items))
        assert not captions.fits(said, compose.Scene(scene.background, scene.shade, scene.items[1:]))


def test_labelled_splits_agree_with_their_metadata(folder):
    for name in ("names", "unseen_names", "compounds", "colours"):
        dataset = LabelledShards(str(folder / f"{name}.tar"))
        classes = load_class_names(str(folder / f"{name}.txt"))
        load_templates(str(folder / f"{name}_templates.txt"))
        assert len(set(classes)) == len(classes) == dataset.labels.max() + 1
        for label, entry in zip(dataset.labels, read_split(folder, f"{name}.tar")):
            if name == "colours":
                assert classes[label] == entry["background"]
            else:
                assert classes[label].endswith(entry["emojis"][0]["noun"])


def test_pictures_show_their_background_and_their_emoji_where_the_caption_says(folder):
    dataset = LabelledShards(str(folder / "colours.tar"))
    wanted = {"small": 0.38, "medium": 0.57, "large": 0.88}
    for index, entry in enumerate(read_split(folder, "colours.tar")):
        pixels = np.asarray(Image.open(io.BytesIO(dataset.read(index)))).astype(int)
        assert pixels.shape == (80, 80, 3)
        shade = np.array(compose.BACKGROUNDS[entry["background"]])
        ink = np.abs(pixels - shade).max(axis=2) > 60  # well beyond the shade's own jitter and JPEG's noise
        border = np.concatenate([pixels[[0, -1]].reshape(-1, 3), pixels[:, [0, -1]].reshape(-1, 3)])
        assert np.median(np.abs(border - shade)) <= 12
        (emoji,) = entry["emojis"]
        if emoji["rotation"] != "upright" or ink.sum() < 30:
            continue
        rows, columns = np.nonzero(ink)
        extent = max(np.ptp(rows), np.ptp(columns)) / 80
        assert extent < wanted[emoji["size"]] + 0.17
        for values, place in ((rows, emoji["place"][0]), (columns, emoji["place"][1])):
            middle = (values.min() + values.max()) / 160 - 0.5
            assert int(middle > 0.1) - int(middle < -0.1) == place


def test_every_listed_emoji_has_a_drawing_of_its_own_and_a_name_of_its_own():
    emojis = openmoji.load_emojis()
    assert len({emoji.noun for emoji in emojis}) == len(emojis) > 350
    drawings = {openmoji.draw_emoji(emoji.character).resize((16, 16)).tobytes() for emoji in emojis}
    assert len(drawings) == len(emojis)


def test_articles():
    assert captions.with_article("a", "unicorn") == "a unicorn"
    assert captions.with_article("a", "hourglass") == "an hourglass"
    assert captions.with_article("a", "orange cat") == "an orange cat"
    assert captions.with_article("some", "eyes") == "some eyes"
    assert captions.with_article("", "Mount Fuji") == "Mount Fuji"


def test_attribution_is_written_beside_the_data(folder):
    text = (folder / "ATTRIBUTION.txt").read_text(encoding="utf-8")
    assert "OpenMoji" in text and "CC BY-SA 4.0" in text
    assert json.loads((folder / build.MANIFEST).read_text())["files"]["ATTRIBUTION.txt"]
