"""Synonyms from WordNet's own files, compiled once to a small table in the user's cache.

Reads the format that every distribution shares (`index.noun`, `data.noun`, ... and `cntlist.rev`): Debian's package
wordnet-base, a WordNet release, or the corpora folder of nltk, zipped or not.
"""

import os
import pathlib
import sys
import zipfile

import numpy as np

from lightclip_ms.data.cache import cached_arrays

PARTS = ("noun", "verb", "adj", "adv")
_PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/local/WordNet-3.0/dict")
_NLTK_PLACES = (
    "~/nltk_data",
    os.path.join(sys.prefix, "nltk_data"),
    "/usr/share/nltk_data",
    "/usr/local/share/nltk_data",
    "/usr/lib/nltk_data",
    "/usr/local/lib/nltk_data",
)
_NLTK_CORPORA = ("corpora/wordnet", "corpora/wordnet.zip", "corpora/wordnet31", "corpora/wordnet31.zip")
# Function words have noun senses in WordNet ("a" is a vitamin, "in" an inch) that no caption means.
_FUNCTION_WORDS = frozenset(
    """
a about above after again against all am an and any are as at be because been before being below between both but by can
could did do does doing done down during each few for from further get gets got had has have having he her here hers him
his how i if in into is it its itself just like may me might more most much must my near next no nor not now of off on
once one only or other our ours out over own same shall she should so some such than that the their them then there
these they this those through to too two under until up upon us very via was we were what when where which while who
whom why will with within without would yes yet you your yours
""".split()
)


def find_wordnet(folder: str = ""):
    """Folder of WordNet's files as a path to read from, or None; `folder` empty means the usual places.

    Raises:
        ValueError: a folder was given, and it holds no WordNet.
    """
    if folder:
        found = _open_folder(pathlib.Path(folder))
        if found is None:
            raise ValueError(f"{folder}: no WordNet here: index.noun and data.noun are missing")
        return found
    nltk = [*os.environ.get("NLTK_DATA", "").split(os.pathsep), *_NLTK_PLACES]
    places = [
        os.environ.get("WNSEARCHDIR", ""),
        *_PLACES,
        *(os.path.join(root, name) for root in nltk if root for name in _NLTK_CORPORA),
    ]
    paths = (_open_folder(pathlib.Path(os.path.expanduser(place))) for place in places if place)
    return next((path for path in paths if path is not None), None)


def _open_folder(path: pathlib.Path):
    if path.suffix == ".zip" and path.is_file():
        path = zipfile.Path(path) / path.stem
    return path if (path / "index.noun").is_file() and (path / "data.noun").is_file() else None


def load_synonyms(folder) -> dict[str, tuple[str, ...]]:
    """Lower-case word to its synonyms, as `find_wordnet` found them.

    Of a word's senses only the most frequent one counts: captions are short, and rarer senses read as mistakes.

    Raises:
        ValueError: the files are damaged. FileNotFoundError: one of them is missing.
    """
    zipped = isinstance(folder, zipfile.Path)
    sources = [folder.root.filename] if zipped else [folder / f"data.{part}" for part in PARTS]
    try:
        table = cached_arrays("wordnet", sources, lambda: {"table": _compile(folder)})["table"]
    except (ValueError, LookupError) as error:
        raise ValueError(f"{folder}: not in WordNet's format ({error})") from None
    rows = (line.split("\t") for line in table.tobytes().decode().splitlines())
    return {word: tuple(synonyms) for word, *synonyms in rows}


def _compile(folder) -> np.ndarray:
    """Lines `word TAB synonym TAB ...` as bytes, uint8 [B]."""
    counts = _sense_counts(folder)
    best = {}  # word -> (uses in WordNet's texts, part of speech, data offset)
    for rank, part in enumerate(PARTS):
        for line in _lines(folder / f"index.{part}"):
            fields = line.split()
            word, senses = fields[0], int(fields[2])
            first = fields[-senses]
            candidate = (counts.get((word, part), 0), -rank, part, first)
            best[word] = max(best.get(word, candidate), candidate)
    groups = {part: dict(_synsets(folder / f"data.{part}")) for part in PARTS}
    rows = []
    for word, (_, _, part, offset) in best.items():
        synonyms = [other for other in groups[part].get(offset, ()) if other.lower() != word and _is_plain(other)]
        if synonyms and _is_plain(word) and "_" not in word and word not in _FUNCTION_WORDS:
            rows.append("\t".join([word, *(other.replace("_", " ") for other in synonyms)]))
    return np.frombuffer("\n".join(rows).encode(), np.uint8)


def _is_plain(word: str) -> bool:
    """Lower-case letters, no names, numbers or Latin binomials."""
    return len(word) > 1 and word.replace("_", "").replace("-", "").isalpha() and word.islower()


def _lines(path):
    """Records of a WordNet file, without the licence, whose lines begin with a space."""
    return (line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(" "))


def _synsets(path):
    """Yield (offset, words) of a data file: offset, file number, type, word count in hexadecimal, then word and id."""
    for line in _lines(path):
        fields = line.split(" ", 4)
        words = fields[4].split(" ")[: 2 * int(fields[3], 16) : 2]
        yield fields[0], [word.partition("(")[0] for word in words]  # "(p)" after an adjective is its position


def _sense_counts(folder) -> dict[tuple[str, str], int]:
    """(word, part of speech) to how often its first sense occurs in WordNet's tagged texts; empty without the file."""
    path = folder / "cntlist.rev"
    counts = {}
    for line in _lines(path) if path.is_file() else ():
        sense, number, uses = line.split()
        word, _, rest = sense.partition("%")
        if number == "1":
            part = PARTS[{"1": 0, "2": 1, "3": 2, "4": 3, "5": 2}[rest[0]]]
            counts[word, part] = max(int(uses), counts.get((word, part), 0))
    return counts
