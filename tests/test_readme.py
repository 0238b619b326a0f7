import itertools
import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.schema import SCHEMAS

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()
FENCES = re.compile(r"^```.*?\n(.*?)^```", re.M | re.S)


def typed():
    """Every ``darkroom …`` that the page tells people to type, in blocks and between the lines."""
    blocks = "\n".join(FENCES.findall(TEXT)).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if line.startswith("darkroom ")]
    return sorted({*lines, *re.findall(r"`(darkroom [^`]+)`", FENCES.sub("", TEXT))})


def points(line):
    """The command, and the overrides of each point when it is a grid."""
    _, name, *words = shlex.split(line, comments=True)
    values = {"--cfg", "-c", "--config-dir"}
    kept = [
        word for before, word in itertools.pairwise(["", *words]) if not word.startswith("-") and before not in values
    ]
    if "-m" not in words:
        return name, [kept]
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line]
        for override in OverridesParser.create().parse_overrides(kept)
    ]
    return name, [list(point) for point in itertools.product(*choices)]


@pytest.mark.parametrize("line", typed())
def test_command_composes(line):
    name, grid = points(line)
    for overrides in grid:
        check(compose(name, overrides), name)


def test_every_command_has_an_example():
    assert {points(line)[0] for line in typed()} == set(SCHEMAS)


def test_a_grid_is_taken_apart():
    name, grid = points("darkroom train -m seed=0,1 model.penalty.r1=0.1,0.2 budget.images=10  # twice two")
    assert name == "train"
    assert grid[1] == ["seed=0", "model.penalty.r1=0.2", "budget.images=10"]
    assert len(grid) == 4


def test_targets_of_make_exist():
    targets = re.findall(r"^(\w+):.*##", (README.parent / "Makefile").read_text(), re.M)
    typed = set(re.findall(r"(?:^|`)make (\w+)", TEXT, re.M))
    assert typed
    assert typed <= set(targets)


@pytest.mark.parametrize("page", [README, *sorted((README.parent / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith(("http", "#"))]
    assert links or page != README
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


def test_every_page_is_in_the_index():
    index = TEXT.split("\n## Pages\n")[1]
    pages = {f"docs/{page.name}" for page in (README.parent / "docs").glob("*.md")}
    assert set(re.findall(r"\]\((docs/\w+\.md)\)", index)) == pages


def test_the_first_screen_has_no_hash_in_it():
    first = TEXT.split("\n## Commands\n")[0]
    assert re.findall(r"\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{7,}\b", first) == []


def test_page_is_short():
    assert len(TEXT.splitlines()) <= 150
    assert max(map(len, FENCES.sub("", TEXT).splitlines())) <= 200
