"""Which class gets which name: the one place that decides it, for every script and for training.

A wrong order would be a wrong accuracy without a word, so names are matched by name where possible, in order only where
there is just one order, and refused otherwise.
"""

import re

from lightclip_ms.data.skipped import printable

_SYNSET = re.compile(r"(n\d{8})[\s:,]+(\S.*)")
_IS_SYNSET = re.compile(r"n\d{8}")
_DIGITS = re.compile(r"(\d+)")
_HOW = "write lines 'folder<TAB>name', or give the list in the folders' names"


def sorted_classes(folders: list[str]) -> list[str]:
    """Names of class folders in label order: by number if all are numbers, else as text.

    Raises:
        ValueError: two names are one number, such as 1 and 01.
    """
    if not _are_numbers(folders):
        return sorted(folders)
    ordered = sorted(folders, key=lambda name: (int(name), name))
    for one, other in zip(ordered, ordered[1:]):
        if int(one) == int(other):
            raise ValueError(f"class folders {one!r} and {other!r} are the same number: rename one")
    return ordered


def split_synset(line: str) -> tuple[str | None, str]:
    """(folder, name) of a line of a list of names: `folder<TAB>name`, `n01440764 tench`, or a name alone (None)."""
    folder, tab, name = line.partition("\t")
    if tab and folder.strip() and name.strip():
        return folder.strip(), name.strip()
    match = _SYNSET.fullmatch(line.strip())
    return (match[1], match[2].strip()) if match else (None, line.strip())


def plain_names(lines: list[str]) -> list[str]:
    """The names of a list, without the synsets or folders before them."""
    return [split_synset(line)[1] for line in lines]


def match_classes(dataset, names: list[str] | None) -> list[str]:
    """Class names in the order of `dataset.labels`.

    Args:
        dataset: a labelled set.
        names: the user's list, one of: lines that name their folder (`folder<TAB>name`, `n01440764 tench`); the names
            of the folders themselves, in any order (capitals, `_` and `-` do not count); or one name per class in label
            order, if the folders have only one order. Shards have indices, so there the list is in their order.
            None: the folders' own names.

    Raises:
        ValueError: no names at all, a count that does not fit, or an order that could be another.
    """
    folders = dataset.classes
    if names is None:
        if folders is None:
            raise ValueError("shards hold only class indices: give --classnames FILE, one name a line in that order")
        return [printable(folder).replace("_", " ") for folder in folders]
    pairs = [split_synset(line) for line in names]
    plain = [name for _, name in pairs]
    expected = int(dataset.labels.max()) + 1
    if folders is None and len(plain) < expected:
        raise ValueError(f"{len(plain)} class names for {expected} classes: the list must have one name per class")
    named = _by_folder(pairs)
    wanted = [str(index) for index in range(expected)] if folders is None else folders
    # Synsets in the list of a set that does not use them only stand before the names.
    if any(folder in named for folder in wanted) or not all(map(_IS_SYNSET.fullmatch, named)):
        absent = [folder for folder in wanted if folder not in named]
        if absent:
            raise ValueError(f"class names: no line '{absent[0]}<TAB>name' for that class folder or index")
        return [named[folder] for folder in wanted]
    if folders is None:
        return plain
    found = match_in_order(folders, plain)
    if found is plain:
        _require_one_order(folders)
    return found


def match_in_order(folders: list[str], names: list[str]) -> list[str]:
    """Names for folders whose order is known: by name if all folders are named, else the list itself.

    Raises:
        ValueError: a count that does not fit, or the name of one folder in the place of another.
    """
    return _by_name(folders, names) or _in_place(folders, names)


def class_mapping(dataset, names: list[str]) -> list[list[str]]:
    """[folder or index, name] of every class in label order, for reports."""
    folders = dataset.classes or [str(index) for index in range(len(names))]
    return [[printable(folder), name] for folder, name in zip(folders, names)]


def describe_classes(mapping: list[list[str]]) -> str:
    """One line that shows which class has which name: the first three and the last."""
    shown = [f"{folder} = {name}" for folder, name in mapping[:3]]
    if len(mapping) > 3:
        shown += ["..."] * (len(mapping) > 4) + [f"{mapping[-1][0]} = {mapping[-1][1]}"]
    return f"{len(mapping)} classes: " + ", ".join(shown)


def _by_folder(pairs: list[tuple[str | None, str]]) -> dict[str, str]:
    named = {}
    for folder, name in pairs:
        if folder is not None and named.setdefault(folder, name) != name:
            raise ValueError(f"class names: folder {folder!r} is called both {named[folder]!r} and {name!r}")
    return named


def _by_name(folders: list[str], names: list[str]) -> list[str] | None:
    """The names that are the folders' own, or None if one of the folders is not among them."""
    exact = {name.replace("_", " "): name for name in names}
    found = [exact.get(folder.replace("_", " ")) for folder in folders]
    if None not in found:
        return found
    like: dict[str, set[str]] = {}
    for name in names:
        like.setdefault(_simplified(name), set()).add(name)
    simplified = [_simplified(folder) for folder in folders]
    if len(set(simplified)) < len(folders) or not all(len(like.get(name, ())) == 1 for name in simplified):
        return None
    return [next(iter(like[name])) for name in simplified]


def _in_place(folders: list[str], names: list[str]) -> list[str]:
    """The names as they come, one per folder; the name of one folder must not stand in the place of another."""
    if len(names) != len(folders):
        raise ValueError(
            f"{len(names)} class names for {len(folders)} classes: the list must have one name per class, or {_HOW}"
        )
    places = {_simplified(folder): place for place, folder in enumerate(folders)}
    for place, name in enumerate(names):
        if places.get(_simplified(name), place) != place:
            raise ValueError(f"class name {name!r} stands in the place of folder {folders[place]!r}; {_HOW}")
    return names


def _require_one_order(folders: list[str]) -> None:
    """Raises ValueError if a list of names could have been written in another order of the folders."""
    if _are_numbers(folders):
        numbers = [int(folder) for folder in folders]
        if numbers not in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
            raise ValueError(
                f"class folders {folders[0]} to {folders[-1]} are not numbered without a gap from 0 or 1, so a list of "
                f"{len(folders)} names could be meant in two ways; {_HOW}"
            )
    elif folders != sorted(folders, key=_natural):
        first = next(one for one, other in zip(folders, sorted(folders, key=_natural)) if one != other)
        raise ValueError(
            f"class folders such as {first!r} are sorted differently by different programs (numbers and capitals), so "
            f"the list's order could be another; {_HOW}"
        )


def _are_numbers(folders: list[str]) -> bool:
    return all(folder.isascii() and folder.isdigit() and len(folder) < 19 for folder in folders)


def _natural(name: str) -> list:
    """Sorting key by which people order names: numbers by value, capitals like small letters."""
    parts = _DIGITS.split(name.casefold())
    return [(part, 0) if place % 2 == 0 else ("", int(part)) for place, part in enumerate(parts)]


def _simplified(name: str) -> str:
    return " ".join(re.sub(r"[_\-]+", " ", name).casefold().split())
