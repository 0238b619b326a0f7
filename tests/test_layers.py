import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import darkroom

SOURCE = Path(darkroom.__file__).parent
EVERYONE = {
    *(
        "advice",
        "baselines",
        "building",
        "captions",
        "digests",
        "documents",
        "errors",
        "figures",
        "files",
        "images",
        "isolation",
        "names",
        "numbers",
        "paths",
        "recorded_names",
        "references",
    ),
    *("picture_files", "processes", "ranks", "signals", "streams", "variables", "version", "__init__"),
}
# Who may import whom; imports go one way, from the commands down.
ALLOWED = {
    "losses": set(),
    "networks": set(),
    "data": {"imaging"},
    "tracking": set(),
    "latents": {"data", "explaining", "judges", "metrics", "models"},
    "reporting": {"tracking", "data", "metrics"},
    "models": {"networks", "losses", "imaging"},
    "judges": {"data", "networks"},
    "audits": {"data", "judges", "metrics", "models"},
    "metrics": {"data", "losses", "imaging", "judges", "models"},
    "editing": set(),
    "imaging": {"losses"},
    "explaining": {"networks", "data", "models"},
    "callbacks": {"models", "data", "judges", "metrics", "tracking"},
    "annotations": set(),
    "signatures": {"annotations"},
    "trust": {"signatures"},
    "line": set(),
    "config": {"annotations", "line", "signatures", "trust"},
    "lab": {"config", "trust", "data", "metrics", "models", "tracking"},
    "judging": {"config", "lab", "data", "judges", "metrics", "models", "tracking"},
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
        "imaging",
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
        "audits",
        "judges",
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
# What may be the name of several files, since each is about the same thing: the name, and what they are to it.
SHARED = {
    "audit": "the command, and what it finds",
    "captions": "words as numbers, and the network that reads them",
    "coder": "the family of models, and its networks",
    "detection": "pictures real and drawn as data, and how well a detector tells them apart",
    "forecasting": "the networks, and their scores",
    "judge": "the command, and what it makes",
    "latents": "the room, their health while training, and edits through them",
    "motion": "how pixels move, and edits that move them",
    "patches": "how alike two pictures are patch by patch, and pictures made by it",
    "restoration": "the operations, and their scores",
    "several": "metrics by name as they are configured, and as they score",
    "style": "the models, their networks, the operations, and their scores",
}


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


def module(file):
    return ".".join(("darkroom", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def everything_imported(file):
    """Yield what a file imports when it is run, wherever in it, down to the names: some of them are modules."""
    waiting = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_go_one_way(file):
    own = room(file)
    allowed = ALLOWED.get(own, set()) | EVERYONE | {own} if own in EVERYONE else ALLOWED[own] | EVERYONE | {own}
    for name in imported(file):
        top, _, rest = name.partition(".")
        if top == "darkroom" and rest and not rest.startswith("__"):
            assert rest.partition(".")[0] in allowed, f"{file} imports {name}"


def test_what_does_the_work_sees_no_configuration():
    """Rooms below the commands are given objects; only which parts there are may be looked up, by their names."""
    rooms = (
        "callbacks",
        "data",
        "editing",
        "explaining",
        "imaging",
        "judges",
        "latents",
        "losses",
        "metrics",
        "models",
    )
    rooms += ("networks", "operations", "picture_files", "reporting", "tracking")
    seen = {
        (room(file), name)
        for file in FILES
        for name in imported(file)
        if room(file) in rooms and name.startswith("darkroom.config")
    }
    assert seen == {("operations", "darkroom.config.groups"), ("operations", "darkroom.config.parts")}


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
            for name in ("command", "composing", "overrides", "parts", "registering", "sentences", "typed")
        ),
        "sweeping/grid.py",
    }


def test_rooms_are_empty_at_the_door():
    assert [file for file in FILES if file.name == "__init__.py" and file.parent != SOURCE and file.read_text()] == []


def test_nothing_is_called_by_what_it_is_not():
    words = {part for file in FILES for part in file.relative_to(SOURCE).with_suffix("").parts}
    assert not words & {"utils", "helpers", "common", "components", "misc"}


def test_a_name_means_one_thing():
    places = {(file.stem, file) for file in FILES if file.stem != "__init__"}
    places |= {(file.parent.name, file.parent) for file in FILES if file.parent != SOURCE}
    several = [name for name, count in Counter(name for name, _ in places).items() if count > 1]
    assert sorted(several) == sorted(SHARED)


def test_imports_do_not_run_in_circles():
    """Not even within a room, or through imports within functions; what is imported for its types alone is not run."""
    modules = {module(file): file for file in FILES}
    asked = {}
    for name, file in modules.items():
        found = {full if full in modules else full.rpartition(".")[0] for full in everything_imported(file)}
        asked[name] = (found & modules.keys()) - {name}
    try:
        tuple(TopologicalSorter(asked).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")
