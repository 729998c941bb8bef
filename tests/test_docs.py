"""The documentation's links, files and commands exist."""

import ast
import re
import subprocess
import sys

import pytest

from lightclip_ms.config.file import load_config
from tests import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    return [block for page in PAGES for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    named = re.findall(
        r"\b((?:scripts|configs|tests|benchmarks|lightclip_ms)/[\w/.-]*\.(?:py|sh|yaml))", page.read_text()
    )
    added = re.findall(r"^`(lightclip_ms/[^`]+)`:$", page.read_text(), re.MULTILINE)  # files that a page tells to make
    missing = [name for name in named if not (ROOT / name).exists() and name not in ("configs/mine.yaml", *added)]
    assert missing == []


def test_quoted_options_are_known_to_their_scripts():
    commands = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    used = {}
    for line in commands:
        for script, rest in re.findall(r"python (scripts/\w+\.py)([^|#\n]*)", line):
            used.setdefault(script, set()).update(re.findall(r"(?<!\S)--[\w-]+", rest))
    assert len(used) >= 3
    for script, options in used.items():
        if options - {"--help"}:
            shown = subprocess.run(
                [sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, check=True
            )
            assert not {option for option in options if option not in shown.stdout}, script


def test_quoted_overrides_are_valid():
    checked = []
    for line in (line for block in blocks("bash") for line in block.splitlines()):
        words = line.partition("#")[0].partition("run_distribute.sh")[2].split()
        if words and re.fullmatch(r"[\w/.]+", words[0]) and "mine.yaml" not in line:
            overrides = [word for word in words if "=" in word]
            config = ROOT / words[0] if words[0].endswith(".yaml") else words[0]
            checked.append(load_config(str(config), overrides))
    assert len(checked) >= 3  # else this looks for commands in a form they no longer have


def test_python_examples_parse():
    assert [ast.parse(block) for block in blocks("python")]
