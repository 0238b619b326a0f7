import ast
from pathlib import Path

import pytest

import darkroom

SOURCE = Path(darkroom.__file__).parent
EVERYONE = {
    *(
        "advice",
        "building",
        "captions",
        "documents",
        "errors",
        "figures",
        "files",
        "images",
        "isolation",
        "names",
        "numbers",
        "paths",
    ),
    *("picture_files", "processes", "ranks", "signals", "streams", "variables", "__init__"),
}
# Who may import whom; imports go one way, from the commands down.
ALLOWED = {
    "losses": set(),
    "networks": set(),
    "data": {"editing"},
    "tracking": set(),
    "latents": {"data", "explaining", "metrics", "models"},
    "reporting": {"tracking", "data", "metrics"},
    "models": {"networks", "losses", "editing"},
    "metrics": {"networks", "data", "losses", "editing", "models"},
    "editing": {"losses"},
    "explaining": {"networks", "data", "models"},
    "callbacks": {"models", "data", "metrics", "tracking"},
    "annotations": set(),
    "signatures": {"annotations"},
    "trust": {"signatures"},
    "line": set(),
    "config": {"annotations", "line", "signatures", "trust"},
    "lab": {"config", "trust", "data", "metrics", "models", "tracking"},
    "judging": {"config", "lab", "data", "metrics", "models", "tracking"},
    "hardware": set(),
    "scaling": {"tracking"},
    "sampling": {"models"},
    "trained": {"trust", "sampling", "lab", "data", "editing", "models", "operations", "tracking"},
    "__init__": {"trained"},
    "operations": {
        "latents",
        "signatures",
        "config",
        "sampling",
        "lab",
        "data",
        "metrics",
        "models",
        "tracking",
        "editing",
        "networks",
        "reporting",
    },
    "sweeping": {"config", "line", "tracking", "scaling"},
    "training": {
        *("callbacks", "config", "data", "explaining", "hardware", "lab", "latents", "metrics", "models", "reporting"),
        "tracking",
    },
    "commands": {
        "training",
        "sweeping",
        "sampling",
        "operations",
        "config",
        "line",
        "lab",
        "judging",
        "hardware",
        "data",
        "metrics",
        "models",
        "tracking",
        "editing",
        "explaining",
        "callbacks",
        "scaling",
        "reporting",
    },
    "__main__": {"commands"},
}
FILES = sorted(SOURCE.rglob("*.py"))


def room(file):
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(file):
    """Yield every module that a file imports, wherever in it, as a dotted name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            if node.module == "darkroom":
                yield from (f"darkroom.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_go_one_way(file):
    own = room(file)
    allowed = ALLOWED.get(own, set()) | EVERYONE | {own} if own in EVERYONE else ALLOWED[own] | EVERYONE | {own}
    for name in imported(file):
        top, _, rest = name.partition(".")
        if top == "darkroom" and rest and not rest.startswith("__"):
            assert rest.partition(".")[0] in allowed, f"{file} imports {name}"


def test_only_the_configuration_and_the_grid_know_hydra():
    knowing = {
        str(file.relative_to(SOURCE))
        for file in FILES
        for name in imported(file)
        if name.partition(".")[0] in ("hydra", "omegaconf")
    }
    assert knowing == {
        *(
            f"config/{name}.py"
            for name in ("command", "composing", "parts", "reading", "registering", "sentences", "typed")
        ),
        "sweeping/grid.py",
    }


def test_rooms_are_empty_at_the_door():
    assert [file for file in FILES if file.name == "__init__.py" and file.parent != SOURCE and file.read_text()] == []


def test_nothing_is_called_by_what_it_is_not():
    words = {part for file in FILES for part in file.relative_to(SOURCE).with_suffix("").parts}
    assert not words & {"utils", "helpers", "common", "components", "misc"}
