"""Caption augmentation and WordNet's file format, on a small WordNet written here."""

import logging
import zipfile

import numpy as np
import pytest

from lightclip_ms.data import wordnet
from lightclip_ms.data.text_augment import TextAugment
from lightclip_ms.data.wordnet import find_wordnet, load_synonyms

LICENCE = "  1 This software and database is being provided to you, the LICENSEE\n"
# part: {offset: (words, type)}; index: {word: offsets in order of frequency}
SYNSETS = {
    "noun": {
        "00000001": ["dog", "domestic_dog", "Canis_familiaris"],
        "00000002": ["frump", "dog"],
        "00000003": ["photo", "photograph"],
        "00000004": ["angstrom", "a"],
        "00000005": ["red", "redness"],
        "00000006": ["chase", "pursuit"],
    },
    "verb": {"00000011": ["chase", "chase_after", "dog"], "00000012": ["run", "hurry"]},
    "adj": {"00000021": ["red", "ruddy(p)", "crimson(a)"], "00000022": ["big", "large"]},
    "adv": {"00000031": ["quickly", "rapidly"]},
}
COUNTS = (
    "red%1:07:00:: 1 6\nred%3:00:01:: 1 43\ndog%1:05:00:: 1 42\n"
    "dog%2:38:00:: 1 3\nchase%2:38:00:: 1 9\nchase%1:04:00:: 1 2\n"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return write_wordnet(tmp_path / "wn")


def write_wordnet(folder, counts=COUNTS):
    """The distribution's layout: https://wordnet.princeton.edu/documentation/wndb5wn."""
    folder.mkdir(parents=True)
    letters = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
    for part, groups in SYNSETS.items():
        data, index = LICENCE, {}
        for offset, words in groups.items():
            listed = " ".join(f"{word} 0" for word in words)
            data += (
                f'{offset} 05 {letters[part]} {len(words):02x} {listed} 001 @ 00009999 n 0000 | a gloss; "with text"\n'
            )
            for word in words:
                index.setdefault(word.split("(")[0].lower(), []).append(offset)
        rows = "".join(
            f"{word} {letters[part]} {len(offsets)} 1 @ {len(offsets)} 1 {' '.join(offsets)}\n"
            for word, offsets in sorted(index.items())
        )
        (folder / f"data.{part}").write_text(data)
        (folder / f"index.{part}").write_text(LICENCE + rows)
    if counts:
        (folder / "cntlist.rev").write_text(counts)
    return folder


def test_table_of_the_most_frequent_senses(folder):
    table = load_synonyms(find_wordnet(str(folder)))
    assert table == {
        "dog": ("domestic dog",),
        "frump": ("dog",),
        "photo": ("photograph",),
        "photograph": ("photo",),
        "redness": ("red",),
        "chase": ("chase after", "dog"),
        "pursuit": ("chase",),
        "run": ("hurry",),
        "hurry": ("run",),
        "red": ("ruddy", "crimson"),
        "ruddy": ("red", "crimson"),
        "crimson": ("red", "ruddy"),
        "big": ("large",),
        "large": ("big",),
        "quickly": ("rapidly",),
        "rapidly": ("quickly",),
    }


def test_without_counts_nouns_come_first(tmp_path):
    table = load_synonyms(find_wordnet(str(write_wordnet(tmp_path / "wn", counts=""))))
    assert table["red"] == ("redness",) and table["chase"] == ("pursuit",)


def test_zipped_as_nltk_leaves_it_and_found_in_the_usual_places(folder, tmp_path, monkeypatch):
    expected = load_synonyms(find_wordnet(str(folder)))
    archive = tmp_path / "nltk_data/corpora/wordnet.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.iterdir():
            file.write(path, f"wordnet/{path.name}")
    assert load_synonyms(find_wordnet(str(archive))) == expected
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk_data"))
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    monkeypatch.setattr(wordnet, "_PLACES", ())
    assert load_synonyms(find_wordnet()) == expected


def test_the_compiled_table_is_kept(folder, monkeypatch):
    first = load_synonyms(find_wordnet(str(folder)))
    monkeypatch.setattr(wordnet, "_compile", lambda folder: pytest.fail("compiled again"))
    assert load_synonyms(find_wordnet(str(folder))) == first


def test_folders_that_are_no_wordnet(tmp_path, folder):
    with pytest.raises(ValueError, match="no WordNet here"):
        TextAugment(wordnet=str(tmp_path))
    (folder / "index.verb").write_text("dog v x\n")
    with pytest.raises(ValueError, match="not in WordNet's format"):
        TextAugment(wordnet=str(folder))


def draws(augment, caption, count=300):
    return [augment(caption, np.random.default_rng([3, i])) for i in range(count)]


def test_synonyms_keep_case_and_punctuation(folder):
    augment = TextAugment(wordnet=str(folder))
    found = {
        " ".join(augment.replace(text.split(), np.random.default_rng(i)))
        for i in range(20)
        for text in ("“Dog”, running!", "the DOG’s bed", "a photo (red).")
    }
    assert found == {
        "“Domestic dog”, running!",
        "the DOMESTIC DOG’s bed",
        "a photograph (red).",
        "a photo (ruddy).",
        "a photo (crimson).",
    }


def test_how_many_words_change(folder):
    augment = TextAugment(wordnet=str(folder))
    words = ["dog", "sky"] * 15
    for i in range(50):
        rng = np.random.default_rng(i)
        assert (
            sum(
                a != b
                for a, b in zip(words, " ".join(augment.replace(words, rng)).replace("domestic dog", "X").split())
            )
            == 3
        )
        assert sorted(augment.swap(words, rng)) == sorted(words)
    kept = [len(augment.delete(words, np.random.default_rng(i))) for i in range(2000)]
    assert abs(np.mean(kept) / 30 - 0.9) < 0.01


def test_swap_leaves_punctuation_in_place(folder):
    augment = TextAugment(wordnet=str(folder))
    found = {" ".join(augment.swap(["Cats,", "(dogs)!"], np.random.default_rng(i))) for i in range(5)}
    assert found == {"dogs, (Cats)!"}


def test_each_operation_is_as_likely(folder):
    caption = "one two dog four five"
    kinds = {"replaced": 0, "swapped": 0, "shorter or same": 0}
    for text in draws(TextAugment(wordnet=str(folder)), caption, 3000):
        words = text.split()
        kind = (
            "replaced"
            if "domestic" in words
            else "swapped"
            if words != caption.split() and len(words) == 5
            else "shorter or same"
        )
        kinds[kind] += 1
    assert all(abs(count / 3000 - 1 / 3) < 0.03 for count in kinds.values()), kinds


def test_never_empty_and_odd_captions_pass(folder):
    augment = TextAugment(wordnet=str(folder))
    for caption in ("dog", "!!!", "a", "'", "你好", "x y", "3 4 5", "<|endoftext|>", "\u200b", "’s dog’s s'", "🐶 🐶"):
        assert all(text.strip() for text in draws(augment, caption))
    assert augment("", np.random.default_rng(0)) == "" and augment(" ", np.random.default_rng(0)) == " "


def test_seeded_and_partial(folder):
    augment = TextAugment(wordnet=str(folder))
    caption = "a big red dog on a photo of a big house"
    assert draws(augment, caption) == draws(TextAugment(wordnet=str(folder)), caption)
    half = TextAugment(probability=0.5, wordnet=str(folder))
    unchanged = np.mean([text == caption for text in draws(half, caption, 1000)])
    assert 0.48 < unchanged < 0.65  # a deletion that deletes nothing comes on top of the half
    assert set(draws(TextAugment(probability=0.0), caption)) == {caption}


def test_without_wordnet_one_warning_and_the_other_two(monkeypatch, caplog):
    monkeypatch.setattr("lightclip_ms.data.text_augment.find_wordnet", lambda folder: None)
    with caplog.at_level(logging.WARNING, "lightclip_ms.data"):
        augment = TextAugment()
        found = draws(augment, "a big dog runs")
    assert len(caplog.records) == 1 and "apt-get install wordnet-base" in caplog.text
    assert {"a", "big", "dog", "runs"} == {word for text in found for word in text.split()} and len(set(found)) > 8
