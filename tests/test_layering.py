"""Rooms import only from rooms below them, so that mathematics knows nothing of files, ranks or configurations."""

import ast
import graphlib
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "lightclip_ms"
MAY_IMPORT = {  # room: the other rooms it may use, lazily or not
    "config": set(),
    "runtime": set(),
    "losses": set(),
    "encoders": {"config"},  # the table of MindCV's networks, whose names presets have too
    "data": {"config", "runtime"},
    "model": {"config", "runtime", "data", "encoders"},
    "export": {"config", "runtime", "data", "encoders", "model"},
    "eval": {"config", "runtime", "data", "model", "export"},
    "figures": {"runtime", "data", "losses", "model", "eval"},
    "demo": {"runtime", "data", "eval"},
    "train": {"config", "runtime", "data", "losses", "encoders", "model", "eval", "figures"},
    "ablation": {"config", "runtime", "model", "eval", "figures"},
    "analysis": {"config", "runtime", "data", "losses", "model", "train"},
    "predict": set(),
    "web": {"runtime", "model", "export", "eval"},
}
MAY_IMPORT["commands"] = set(MAY_IMPORT)  # command lines: nothing but a room's __main__.py imports them


def modules() -> dict[str, Path]:
    """Name of every module of the package -> its file."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, known) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found = {f"{node.module}.{item.name}" for item in node.names}
            names |= {name if name in known else node.module for name in found}
        elif isinstance(node, ast.Import):
            names |= {item.name for item in node.names}
    return {name for name in names if name in known and name != "lightclip_ms"}


def test_every_room_has_a_row():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(MAY_IMPORT)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]  # no loose files on the top floor


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_from_below(room):
    known = modules()
    inside = {name: path for name, path in known.items() if name.split(".")[1:2] == [room]}
    assert inside
    for name, path in inside.items():
        allowed = {"commands"} if name.endswith(".__main__") else MAY_IMPORT[room] | {room}
        wrong = {other for other in imports(path, known) if other.split(".")[1] not in allowed}
        assert not wrong, f"{name} imports {sorted(wrong)}"


def test_no_circle_of_rooms_or_of_files():
    graphlib.TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError, which names the circle
    known = modules()
    files = {}
    for name, path in known.items():
        # A package's own __init__ gathers its files: importing from a file's own package is no circle.
        files[name] = {other for other in imports(path, known) if not name.startswith(f"{other}.")} - {name}
    graphlib.TopologicalSorter(files).prepare()


def test_only_parallel_uses_collectives():
    words = ("ops.AllReduce", "ops.AllGather", "mindspore.communication", "import communication")
    users = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    ]
    assert users == ["runtime/parallel.py"]


def test_files_are_written_aside_in_one_place():
    users = [path.name for path in PACKAGE.rglob("*.py") if "os.replace(" in path.read_text(encoding="utf-8")]
    assert set(users) <= {"files.py", "build.py", "prepare.py"}  # the other two put whole folders in place


def test_nothing_loads_pickles_or_unsafe_yaml():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "pickle.load", "yaml.load(", "allow_pickle=True", "torch.load"):
            assert word not in text, f"{path.name}: {word}"
