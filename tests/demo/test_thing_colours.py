"""The colour that captions give a thing, and that it changes nothing else."""

from lightclip_ms.demo import captions, splits
from lightclip_ms.demo.openmoji import load_emojis
from lightclip_ms.demo.thing_colours import PALETTE, main_colour

EMOJIS = {emoji.noun: emoji for emoji in load_emojis()}


def test_a_thing_has_the_colour_that_fills_most_of_it():
    expected = {"taxi": "yellow", "frog": "green", "carrot": "orange", "snowman": "white", "violin": "brown"}
    assert {noun: main_colour(EMOJIS[noun]) for noun in expected} == expected
    # Said by the name, of many colours, outlines alone.
    assert [main_colour(EMOJIS[noun]) for noun in ("blue shirt", "fireworks", "scissors")] == [None] * 3


def test_nearly_every_filled_drawing_is_in_the_palette():
    assert sum(main_colour(emoji) is not None for emoji in EMOJIS.values()) > 0.8 * len(EMOJIS)


def test_names_of_things_with_colours():
    assert captions.name_thing(EMOJIS["taxi"]) == "a yellow taxi"
    assert captions.name_thing(EMOJIS["taxi"], ("small", "tilted")) == "a small tilted yellow taxi"
    assert captions.name_thing(EMOJIS["carrot"]) == "an orange carrot"
    assert captions.name_thing(EMOJIS["glasses"]) == "some gray glasses"
    assert captions.name_thing(EMOJIS["taxi"], coloured=False) == "a taxi"
    assert captions.name_thing(EMOJIS["Mount Fuji"]) == "Mount Fuji"  # a name of its own
    assert "a yellow taxi" in splits.class_names()["unseen_described"]


def test_colours_are_said_often_and_leave_pictures_and_other_words_as_they_were(monkeypatch):
    coloured = splits.unseen_samples(0, 100)
    monkeypatch.setattr(captions, "main_colour", lambda emoji: None)
    plain = splits.unseen_samples(0, 100)
    assert [sample.scene for sample in coloured] == [sample.scene for sample in plain]
    differ = [(more.caption, less.caption) for more, less in zip(coloured, plain) if more.caption != less.caption]
    assert 45 < len(differ) < 80
    for more, less in differ:
        added = more.replace(" an ", " a ").split()
        for word in less.replace(" an ", " a ").split():
            if word in added:
                added.remove(word)
        assert set(added) <= {*PALETTE, "a", "an"}, (more, less)
