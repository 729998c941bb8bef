"""What a person might say about a scene, and which scenes such a sentence fits."""

from dataclasses import dataclass

import numpy as np

from lightclip_ms.demo.compose import Item, Scene
from lightclip_ms.demo.openmoji import Emoji
from lightclip_ms.demo.thing_colours import main_colour

PLACES = {
    (-1, -1): "in the upper left corner",
    (-1, 0): "at the top",
    (-1, 1): "in the upper right corner",
    (0, -1): "on the left",
    (0, 0): "in the middle",
    (0, 1): "on the right",
    (1, -1): "in the lower left corner",
    (1, 0): "at the bottom",
    (1, 1): "in the lower right corner",
}
PLAIN = (
    "{thing} on {a_colour} background",
    "a picture of {thing} on {a_colour} background",
    "{thing} in front of {a_colour} background",
    "{there_is} {thing} on the {colour} background",
    "{a_colour} background with {thing}",
    "{thing} on {colour}",
)
PAIR_PLAIN = (
    "{thing} on {a_colour} background",
    "a picture of {thing} on {a_colour} background",
    "{a_colour} background with {thing}",
)
PLACED = (
    "{thing} {place} of {a_colour} background",
    "{thing} {place} of {a_colour} picture",
    "{a_colour} background with {thing} {place}",
    "{there_is} {thing} {place} of the {colour} background",
    "{place} of {a_colour} picture {there_is} {thing}",
)
BESIDE = (
    "{first} to the left of {second}",
    "{second} to the right of {first}",
    "{first} on the left and {second} on the right",
)
ABOVE = ("{first} above {second}", "{second} below {first}", "{first} at the top and {second} at the bottom")
UNORDERED = ("{first} and {second}", "{second} next to {first}", "{first} together with {second}")
# Facts are left out now and then: where size and place alone tell pictures apart, nobody has to look at the emoji.
SAID = 0.7
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("big", "large", "huge")}
ROTATION_WORDS = {"tilted": ("tilted", "slanted"), "upside-down": ("upside-down",)}


@dataclass(frozen=True)
class Said:
    """The facts a caption states: background, and per item (name, size, rotation, place), None where left out.

    A thing's own colour is not among them: it says nothing that the thing does not.
    """

    background: str
    items: tuple[tuple[str, str | None, str | None, tuple[int, int] | None], ...]


def with_article(article: str, words: str) -> str:
    """`words` after its article, "a" becoming "an" before a vowel's sound."""
    spelled = words.startswith(("a", "e", "i", "o", "u", "hour", "x-ray"))
    vowel = spelled and not words.startswith(("uni", "one", "ufo", "euro"))
    if article == "a" and vowel:
        article = "an"
    return f"{article} {words}".strip()


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]


def name_thing(emoji: Emoji, words: tuple[str, ...] = (), coloured: bool = True) -> str:
    """The noun phrase: article, `words`, the thing's colour and its noun."""
    colour = main_colour(emoji) if coloured and emoji.article in ("a", "some") else None
    words = (*words, colour) if colour else words
    # "the small Statue of Liberty", but "a small Mount Fuji"
    article = emoji.article or ("a" if words else "")
    return with_article(article, " ".join([*words, emoji.noun]))


def _describe_item(rng: np.random.Generator, item: Item, coloured: bool) -> tuple[str, str | None, str | None]:
    """The noun phrase, and the size and rotation it states."""
    size = item.size if item.size in SIZE_WORDS and rng.random() < SAID else None
    rotation = item.rotation if item.rotation in ROTATION_WORDS else None
    words = [_pick(rng, SIZE_WORDS[size])] if size else []
    words += [_pick(rng, ROTATION_WORDS[rotation])] if rotation else []
    return name_thing(item.emoji, tuple(words), coloured), size, rotation


def describe(scene: Scene, rng: np.random.Generator) -> tuple[str, Said]:
    """A caption of the scene and the facts it states."""
    colour = scene.background
    coloured = rng.spawn(1)[0].random(2) < SAID  # apart from the other choices, so that these stay as they were
    slots = {"colour": colour, "a_colour": with_article("a", colour)}
    if len(scene.items) == 2:
        ordered = rng.random() < 0.75
        forms = (BESIDE if scene.items[0].place[0] == 0 else ABOVE) if ordered else UNORDERED
        first, second = (name_thing(item.emoji, (), said) for item, said in zip(scene.items, coloured))
        thing = _pick(rng, forms).format(first=first, second=second)
        said = tuple((item.emoji.name, None, None, item.place if ordered else None) for item in scene.items)
        return _pick(rng, PAIR_PLAIN).format(thing=thing, **slots), Said(colour, said)
    (item,) = scene.items
    thing, size, rotation = _describe_item(rng, item, coloured[0])
    place = item.place if rng.random() < (0.15 if item.place == (0, 0) else SAID) else None
    template = _pick(rng, PLAIN if place is None else PLACED)
    plural = item.emoji.article == "some" and item.emoji.noun.endswith("s")
    side = " side" if item.place in ((0, -1), (0, 1)) else ""
    slots |= {"there_is": "there are" if plural else "there is", "thing": thing, "place": PLACES[item.place] + side}
    return template.format(**slots), Said(colour, ((item.emoji.name, size, rotation, place),))


def fits(said: Said, scene: Scene) -> bool:
    """Whether everything that was said is true of the scene (what it shows besides does not count)."""
    if said.background != scene.background:
        return False
    return all(any(_item_fits(fact, item) for item in scene.items) for fact in said.items)


def _item_fits(fact: tuple, item: Item) -> bool:
    name, *stated = fact
    shown = (item.size, item.rotation, item.place)
    return name == item.emoji.name and all(value is None or value == actual for value, actual in zip(stated, shown))
