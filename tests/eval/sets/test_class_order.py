"""Which class gets which name: by folder, by name, by an order that is the only one, or not at all."""

import types

import numpy as np
import pytest

from lightclip_ms.eval.sets.class_order import (
    class_mapping,
    describe_classes,
    match_classes,
    plain_names,
    sorted_classes,
)


def folders(*names):
    classes = sorted_classes(list(names))
    return types.SimpleNamespace(classes=classes, labels=np.arange(len(classes)))


SHARDS = types.SimpleNamespace(classes=None, labels=np.array([0, 2, 1]))


def test_numbers_sort_as_numbers():
    assert sorted_classes([str(number) for number in range(12)][::-1]) == [str(number) for number in range(12)]
    assert sorted_classes(["10", "9", "008"]) == ["008", "9", "10"]
    assert sorted_classes(["10", "9", "a"]) == ["10", "9", "a"]
    with pytest.raises(ValueError, match="'01' and '1' are the same number"):
        sorted_classes(["1", "2", "01"])


def test_twelve_numbered_folders_get_their_names():
    names = [f"name {number}" for number in range(12)]
    assert match_classes(folders(*map(str, range(12))), names) == names
    assert match_classes(folders(*map(str, range(1, 13))), names) == names
    assert match_classes(folders(*(f"{number:03d}" for number in range(12))), names) == names


@pytest.mark.parametrize(
    "classes, names, expected",
    [
        (["tabby_cat", "dog"], ["Dog", "Tabby Cat"], ["Dog", "Tabby Cat"]),
        (["tabby-cat", "dog"], ["tabby_cat", "x", "dog"], ["dog", "tabby_cat"]),
        (["dog", "Dog"], ["dog", "Dog"], ["Dog", "dog"]),
        (["a", "b"], ["b\tsecond", "a\tfirst", "c\tthird"], ["first", "second"]),
        (
            ["n01440764", "n01443537"],
            ["n01443537 goldfish", "n01440764 tench, Tinca tinca"],
            ["tench, Tinca tinca", "goldfish"],
        ),
        (["n01440764", "n01443537"], ["n01440764\ttench", "n01443537: goldfish"], ["tench", "goldfish"]),
        (["n01440764", "n01443537"], ["tench", "goldfish"], ["tench", "goldfish"]),
        (["tench", "goldfish"], ["n01440764 tench", "n01443537 goldfish"], ["goldfish", "tench"]),
        (["0", "1"], ["n01440764 tench", "n01443537\tgoldfish"], ["tench", "goldfish"]),
        (["class1", "class2"], ["first", "second"], ["first", "second"]),
    ],
)
def test_matches(classes, names, expected):
    assert match_classes(folders(*classes), names) == expected


@pytest.mark.parametrize(
    "classes, names, message",
    [
        (["class1", "class2", "class10"], ["a", "b", "c"], "'class10'.*sorted differently.*folder<TAB>name"),
        (["Zebra", "apple"], ["x", "y"], "sorted differently"),
        (["3", "7", "10"], ["x", "y", "z"], "without a gap"),
        (["cat", "dog"], ["DOG", "puma"], "'DOG' stands in the place of folder 'cat'"),
        (["cat", "dog"], ["x", "y", "z"], "3 class names for 2 classes"),
        (["cat", "dog"], ["cat\tx"], "no line 'dog<TAB>name'"),
        (["cat", "dog"], ["cat\tx", "cat\ty", "dog\tz"], "'cat' is called both 'x' and 'y'"),
        (["n01440764", "n01443537"], ["n01440764 tench"], "no line 'n01443537<TAB>name'"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(classes, names, message):
    with pytest.raises(ValueError, match=message):
        match_classes(folders(*classes), names)


def test_shards_take_the_list_by_index():
    assert match_classes(SHARDS, ["n01440764 tench", "shark", "ray", "more"]) == ["tench", "shark", "ray", "more"]
    assert match_classes(SHARDS, ["2\tc", "0\ta", "1\tb"]) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="2 class names for 3"):
        match_classes(SHARDS, ["a", "b"])


def test_the_mapping_is_shown():
    names = ["n01440764 tench", "shark, great white", "ray"]
    mapping = class_mapping(folders("1", "2", "10"), ["a", "b", "c"])
    assert mapping == [["1", "a"], ["2", "b"], ["10", "c"]] and plain_names(names) == ["tench", *names[1:]]
    assert describe_classes(mapping) == "3 classes: 1 = a, 2 = b, 10 = c"
    many = [[str(number), f"n{number}"] for number in range(12)]
    assert describe_classes(many) == "12 classes: 0 = n0, 1 = n1, 2 = n2, ..., 11 = n11"
