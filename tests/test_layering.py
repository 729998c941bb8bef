"""Rooms may import only from rooms below them, so that mathematics knows nothing of files, ranks or configurations."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "lightclip_ms"
MAY_IMPORT = {  # room: the rooms of the package it may use
    "losses": {"losses"},
    "encoders": {"encoders"},
    "model": {"model", "encoders"},
    "data": {"data", "config"},
    "demo": {"demo", "data"},
    "eval": {"eval", "data", "model", "losses", "train", "parallel", "backend", "cli", "config", "factory", "encoders"},
    "parallel": set(),
    "config": set(),
}


def imports(path: Path) -> set[str]:
    """Full names of the modules of the package that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lightclip_ms":
            names |= (
                {f"{node.module}.{item.name}" for item in node.names}
                if node.module == "lightclip_ms"
                else {node.module}
            )
        elif isinstance(node, ast.Import):
            names |= {item.name for item in node.names if item.name.startswith("lightclip_ms.")}
    return names


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_from_below(room):
    found = files(room)
    assert found
    for path in found:
        wrong = {name for name in imports(path) if name.split(".")[1] not in MAY_IMPORT[room]}
        assert not wrong, f"{path.name} imports {sorted(wrong)}"


def test_only_parallel_and_the_norm_over_cards_use_collectives():
    users = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            word in path.read_text(encoding="utf-8")
            for word in ("ops.AllReduce", "ops.AllGather", "mindspore.communication", "import communication")
        )
    ]
    assert users == ["parallel.py"]


def test_nothing_loads_pickles_or_unsafe_yaml():
    for path in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "scripts").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "pickle.load", "yaml.load(", "allow_pickle=True", "torch.load"):
            assert word not in text, f"{path.name}: {word}"
