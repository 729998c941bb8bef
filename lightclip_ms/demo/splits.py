"""Which scenes make which split. Every sample has a generator of its own, so no split depends on another's size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightclip_ms.demo.captions import Said, describe, fits, name_thing
from lightclip_ms.demo.compose import BACKGROUNDS, Scene, is_held_out, sample_scene, sample_single
from lightclip_ms.demo.openmoji import THINGS, Emoji, split_emojis

NAMES_PER_CLASS, UNSEEN_NAMES_PER_CLASS, COLOURS_PER_CLASS = 2, 6, 50
_TRAIN, _VAL, _UNSEEN, _NAMES, _UNSEEN_NAMES, _COLOURS, _COMPOUNDS = range(7)  # the second word of each sample's seed


@dataclass(frozen=True)
class Sample:
    """A scene with its caption, and its class in a labelled split."""

    scene: Scene
    caption: str
    label: int | None = None


def _rng(seed: int, split: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, split, index])


def _held_out(draw: Callable[[], Scene]) -> Scene:
    return next(scene for scene in iter(draw, None) if is_held_out(scene))


def train_sample(seed: int, index: int, things: int = THINGS) -> Sample:
    """Sample `index` of the training split: seen emojis in compositions that are not held out.

    Args:
        things: how many emojis of the list are used, here and in the other splits of known ones.
    """
    rng = _rng(seed, _TRAIN, index)
    emojis = split_emojis(things).seen
    scene = sample_scene(rng, emojis)
    while is_held_out(scene):
        scene = sample_scene(rng, emojis)
    return Sample(scene, describe(scene, rng)[0])


def _retrieval_split(seed: int, split: int, emojis: tuple[Emoji, ...], count: int) -> list[Sample]:
    """`count` samples in each of which the caption fits no other picture and the picture no other caption."""
    samples, facts = [], []
    for index in range(100 * count):
        rng = _rng(seed, split, index)
        scene = sample_scene(rng, emojis)
        if not is_held_out(scene):
            continue
        caption, said = describe(scene, rng)
        if _is_ambiguous(scene, said, samples, facts):
            continue
        samples.append(Sample(scene, caption))
        facts.append(said)
        if len(samples) == count:
            return samples
    raise ValueError(f"found only {len(samples)} of {count} scenes whose captions tell them apart; ask for fewer")


def _is_ambiguous(scene: Scene, said: Said, samples: list[Sample], facts: list[Said]) -> bool:
    return any(fits(said, other.scene) for other in samples) or any(fits(other, scene) for other in facts)


def val_samples(seed: int, count: int, things: int = THINGS) -> list[Sample]:
    """Unseen compositions of seen emojis."""
    return _retrieval_split(seed, _VAL, split_emojis(things).seen, count)


def unseen_samples(seed: int, count: int) -> list[Sample]:
    """Compositions of emojis that are never seen in training, with names of their own."""
    return _retrieval_split(seed, _UNSEEN, split_emojis().unseen, count)


def _labelled_split(seed: int, split: int, emojis: tuple[Emoji, ...], per_class: int) -> list[Sample]:
    samples = []
    for index in range(len(emojis) * per_class):
        rng = _rng(seed, split, index)
        scene = _held_out(lambda: sample_single(rng, emojis[index // per_class], str(rng.choice(list(BACKGROUNDS)))))
        samples.append(Sample(scene, describe(scene, rng)[0], index // per_class))
    return samples


def name_samples(seed: int, things: int = THINGS) -> list[Sample]:
    """Single seen emojis in held-out compositions, labelled by emoji."""
    return _labelled_split(seed, _NAMES, split_emojis(things).seen, NAMES_PER_CLASS)


def unseen_name_samples(seed: int) -> list[Sample]:
    """Single never-seen emojis with names of their own, labelled by emoji."""
    return _labelled_split(seed, _UNSEEN_NAMES, split_emojis().unseen, UNSEEN_NAMES_PER_CLASS)


def compound_samples(seed: int) -> list[Sample]:
    """Single never-seen emojis with names of known words, labelled by emoji."""
    return _labelled_split(seed, _COMPOUNDS, split_emojis().compounds, UNSEEN_NAMES_PER_CLASS)


def colour_samples(seed: int, things: int = THINGS) -> list[Sample]:
    """Single seen emojis in held-out compositions, labelled by background colour."""
    emojis = split_emojis(things).seen
    samples = []
    for index in range(len(BACKGROUNDS) * COLOURS_PER_CLASS):
        rng = _rng(seed, _COLOURS, index)
        label = index // COLOURS_PER_CLASS
        scene = _held_out(lambda: sample_single(rng, emojis[rng.integers(len(emojis))], list(BACKGROUNDS)[label]))
        samples.append(Sample(scene, describe(scene, rng)[0], label))
    return samples


def class_names(things: int = THINGS) -> dict[str, list[str]]:
    """Lists of class names, each in the order of its labels: one for each labelled split, and `unseen_described`.

    The latter names the never-seen things with their colours, as captions do.
    """
    seen, unseen, compounds = split_emojis(things)
    return {
        "names": [name_thing(emoji, coloured=False) for emoji in seen],
        "unseen_names": [name_thing(emoji, coloured=False) for emoji in unseen],
        "unseen_described": [name_thing(emoji) for emoji in unseen],
        "compounds": [name_thing(emoji, coloured=False) for emoji in compounds],
        "colours": list(BACKGROUNDS),
    }


# The colour's prompts name many objects, so that their mean is left with the colour alone.
TEMPLATES = {
    "names": ["a picture of {}", *(f"{{}} on a {name} background" for name in ("white", "blue", "yellow", "green"))],
    "colours": [
        f"{thing} on a {{}} background"
        for thing in (
            "a cat",
            "a red apple",
            "a rocket",
            "a chair",
            "a tulip",
            "a bicycle",
            "an umbrella in the rain",
            "a robot",
            "an elephant",
            "a castle",
            "a key",
            "a guitar",
            "a penguin",
            "a hamburger",
            "a sandal",
            "a cloud",
        )
    ],
}
TEMPLATES |= dict.fromkeys(("unseen_names", "unseen_described", "compounds"), TEMPLATES["names"])
