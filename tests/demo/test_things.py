"""The list of things: what was left out of it by rule, and that more of them change nothing for the never-seen ones."""

import re

import numpy as np
import pytest
from PIL import Image

from lightclip_ms.demo import splits
from lightclip_ms.demo.build import Settings
from lightclip_ms.demo.openmoji import FIRST_THINGS, THINGS, draw_emoji, load_emojis, split_emojis

SIDE = 24
ALIKE = 0.12  # root mean square difference below which two drawings count as near-duplicates
LIKE_NEVER_SEEN = 0.18  # the same between a never-seen drawing and one that was added to training
# Words that a never-seen thing's name may share with an added one: they do not say what the thing is.
HARMLESS = set("a of in the with box mark face rain slice shirt hot dog lunch web blue japanese corn cross".split())


def added():
    return load_emojis()[FIRST_THINGS:]


@pytest.fixture(scope="module")
def drawings():
    """float32 [things, values]: every drawing in a square of SIDE pixels, its colours where it has ink and its ink."""
    rows = []
    for emoji in load_emojis():
        glyph = draw_emoji(emoji.character)
        scale = SIDE / max(glyph.size)
        glyph = glyph.resize([max(1, round(side * scale)) for side in glyph.size], Image.Resampling.BOX)
        canvas = Image.new("RGBA", (SIDE, SIDE))
        canvas.paste(glyph, ((SIDE - glyph.width) // 2, (SIDE - glyph.height) // 2))
        pixels = np.asarray(canvas, np.float32) / 255
        ink = pixels[..., 3:]
        coloured = pixels[..., :3] * ink + (1 - ink) * (0.0, 0.9, 0.9)
        rows.append(np.concatenate([coloured, 2 * ink], -1).ravel())
    return np.array(rows, np.float32)


def test_a_thousand_things_and_the_first_ones_as_before():
    assert len(load_emojis()) == THINGS >= 1000
    assert [len(part) for part in split_emojis(FIRST_THINGS)] == [323, 42, 50]
    assert [len(part) for part in split_emojis()] == [THINGS - 92, 42, 50]
    assert split_emojis()[1:] == split_emojis(FIRST_THINGS)[1:] == split_emojis(100)[1:]


def test_every_word_of_a_compound_is_in_a_name_that_is_trained_on():
    seen, _, compounds = split_emojis()
    names = {emoji.noun for emoji in seen}
    known = {word for name in names for word in name.split()}
    for emoji in compounds:
        assert set(emoji.noun.split()) <= known and emoji.noun not in names and " " in emoji.noun, emoji.noun


def test_no_added_thing_is_a_person_a_flag_or_a_sign():
    """By the marks of Unicode and the words of the package's names; figures of tales stay."""
    people = re.compile(r"(^|_)(man|woman|men|women|person|people|boy|girl|child|baby(?!_chick)|family|worker)(_|$)")
    signs = re.compile(
        r"button|arrow$|o’clock|thirty|keycap|Japanese_\w+_button|symbol$|_sign$|flag(?!_in_hole)|_heart$"
    )
    allowed = {
        "beating_heart",
        "anatomical_heart",
        "oncoming_automobile",
        "atom_symbol",
        "bus_stop",
        "open_mailbox_with_raised_flag",
    }
    allowed |= {
        "closed_mailbox_with_lowered_flag",
        "mobile_phone_with_arrow",
        "envelope_with_arrow",
        "mending_heart",
        "heart_with_arrow",
    }
    for emoji in added():
        assert "\u200d" not in emoji.character  # without ligatures only its first part is drawn
        assert not re.search("[\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff♀♂\u20e3]", emoji.character), emoji.name
        if emoji.name not in allowed:
            assert not people.search(emoji.name) and not signs.search(emoji.name), emoji.name


def test_no_added_drawing_is_a_near_duplicate(drawings):
    for row in range(FIRST_THINGS, len(drawings)):
        differences = np.sqrt(np.mean((drawings[:row] - drawings[row]) ** 2, axis=1))
        nearest = int(differences.argmin())
        assert differences[nearest] > ALIKE, f"{load_emojis()[row].noun} and {load_emojis()[nearest].noun}"


def test_no_added_thing_gives_a_never_seen_one_away(drawings):
    never_seen = split_emojis().unseen
    rows = [load_emojis().index(emoji) for emoji in never_seen]
    words = {word for emoji in never_seen for word in emoji.noun.split()} - HARMLESS
    for row, emoji in enumerate(added(), FIRST_THINGS):
        differences = np.sqrt(np.mean((drawings[rows] - drawings[row]) ** 2, axis=1))
        assert differences.min() > LIKE_NEVER_SEEN, f"{emoji.noun} and {never_seen[differences.argmin()].noun}"
        assert not words & set(emoji.noun.split()), emoji.noun


def test_the_number_of_things_leaves_the_never_seen_splits_alone():
    seen = {
        emoji.name
        for index in range(300)
        for item in [splits.train_sample(0, index)]
        for emoji in (part.emoji for part in item.scene.items)
    }
    assert len(seen - {emoji.name for emoji in split_emojis(FIRST_THINGS).seen}) > 100
    assert len(splits.class_names()["names"]) == THINGS - 92
    assert splits.class_names()["unseen_names"] == splits.class_names(FIRST_THINGS)["unseen_names"]
    for wrong in (9, THINGS + 1):
        with pytest.raises(ValueError, match=f"things must be 10 to {THINGS}, got {wrong}"):
            Settings(things=wrong)
