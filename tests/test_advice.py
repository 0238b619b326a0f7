"""Whatever a message, a page or a file tells people to type is typed here: quoted for a shell, from another folder."""

import ast
import functools
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom import advice, line, paths
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.schema import SCHEMAS
from darkroom.config.typed import Typed
from darkroom.errors import UserError

SOURCE = paths.PACKAGE
ROOT = Path(__file__).parents[1]
COMMANDS = "|".join(SCHEMAS)


@functools.cache
def texts():
    """Every text in the code that is said to people, with ``…`` where something is filled in; no docstrings."""
    found = []
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        quiet = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in quiet | inner:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append((file.name, "".join(map(str, parts))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((file.name, node.value))
    return found


def printed():
    """Every ``darkroom <command> …`` in them, up to where the line or the sentence ends."""
    pattern = re.compile(rf"(?:^|[\s`>(:])(darkroom (?:{COMMANDS})(?: [^\s`<]*[=@][^\s`]*| -m)*)", re.M)
    for name, text in texts():
        for found in pattern.findall(text):
            yield name, found.rstrip(".,;:)")


def documented():
    """Every command of the pages in docs/, README.md and the comments of conf/."""
    for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md"]:
        blocks = "\n".join(re.findall(r"(?:^    .*\n|^```.*\n(?:(?!```).*\n)*)", page.read_text(), re.M)).replace(
            "\\\n", " "
        )
        within = re.findall(r"`(darkroom [^`]+)`", page.read_text())
        for typed in [*(each.strip() for each in blocks.splitlines()), *within]:
            if re.match(rf"darkroom ({COMMANDS})\b", typed):
                yield page.name, re.split(r"\s{2,}#|\s#\s", typed)[0].strip()
    words = r"(?: +(?:-m|[\w.@/+~]+=(?:'[^']*'|\"[^\"]*\"|[^\s'\",])+(?:,[^\s,]+)*))*"
    for file in (ROOT / "conf").rglob("*.yaml"):
        for typed in re.findall(rf"^#\s*(?:Run:)?\s*(darkroom (?:{COMMANDS})\b{words})", file.read_text(), re.M):
            yield file.name, typed.rstrip(".,;:)")


def composes(typed):
    """Compose and check a line as a shell hands it over, but for what a person fills in (<what>, …)."""
    _, name, *words = shlex.split(re.sub(r"(?<= )\S*(<[^<>]*>|…)\S*", "", typed), comments=True)
    if name == "sweep" and not any(word.startswith("search=") for word in words):
        words.append("search=gan")
    folder = None
    kept = []
    for before, word in itertools.pairwise(["", *words]):
        if not word.startswith("-") and before not in ("--cfg", "-c", "--config-dir"):
            kept.append(word)
    overrides = Typed(name, kept, folder, grid="-m" in words).read().overrides
    if "-m" not in words:
        check(compose(name, overrides), name)
        return
    from hydra.core.override_parser.overrides_parser import OverridesParser

    choices = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [each.input_line]
        for each in OverridesParser.create().parse_overrides(overrides)
    ]
    for point in itertools.product(*choices):
        check(compose(name, list(point)), name, grid=True)


PRINTED = sorted(set(printed()))
DOCUMENTED = sorted(set(documented()))


def test_there_is_advice_to_type():
    assert len(PRINTED) > 10
    assert len(DOCUMENTED) > 40


@pytest.mark.parametrize(("where", "typed"), PRINTED, ids=lambda each: each[:60])
def test_what_a_sentence_says_to_type_composes(where, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if typed.endswith("=") or "…=" in typed or "=…" in typed:  # what is filled in is typed where it is known, below
        typed = re.sub(r"\S*…\S*", "", re.sub(r"\S+=$", "", typed))
    composes(typed)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "typed"), DOCUMENTED, ids=lambda each: each[:60])
def test_what_a_page_says_to_type_composes(where, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--config-dir" in typed:
        pytest.skip("a folder of one's own")
    composes(typed)


def test_nothing_in_it_is_a_pattern_to_a_shell():
    """``runs=[3f2a]`` fails in zsh as it stands, where nothing matches the pattern."""
    bare = {typed: re.sub(r"'[^']*'|\"[^\"]*\"|<[^<>]*>", "", typed) for _, typed in [*PRINTED, *DOCUMENTED]}
    assert [typed for typed, left in bare.items() if re.search(r"[\[\]*?{}()]", left)] == []


WORDS = [
    "seed=1",
    "name=a b",
    "name=it's",
    "runs=[a,b]",
    "data.source.root=/a [1]/*?",
    "name=$HOME `x`",
    'prompt=a, "b"',
    "name=año",
]


def test_a_line_comes_through_a_shell_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = advice.line("train", *WORDS)
    program = shlex.quote(f"{sys.executable}")
    shell = f"darkroom() {{ {program} -c 'import sys, json; print(json.dumps(sys.argv[1:]))' \"$@\"; }}; {typed}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["train", *WORDS]


def test_a_line_with_a_path_from_here_goes_here_first(tmp_path, monkeypatch):
    folder = tmp_path / "my work"
    (folder / "holiday").mkdir(parents=True)
    monkeypatch.chdir(folder)
    typed = advice.line("train", "data=folder", "data.source.root=holiday")
    assert typed == f"cd '{folder}' && darkroom train data=folder data.source.root=holiday"
    assert advice.line("train", f"data.source.root={folder / 'holiday'}").startswith("darkroom train")
    assert advice.line("train", "seed=1", "name=" + "x" * 5000) == f"darkroom train seed=1 name={'x' * 5000}"


def test_lines_of_mlflow_carry_the_address_of_the_store():
    assert advice.mlflow("sqlite:////a b/m.db", "experiments", "restore", "--experiment-id", "3") == (
        "MLFLOW_TRACKING_URI='sqlite:////a b/m.db' mlflow experiments restore --experiment-id 3"
    )
    bare = [(name, text) for name, text in texts() if re.search(r"\bmlflow (ui|experiments|runs|gc|models)\b", text)]
    assert bare == []


@pytest.mark.parametrize(
    "word", ["seed=1", "name=a b", "name=it's", "checkpoint=12e4", "prompt=a, b", "runs=3f2a,9b1c"]
)
def test_what_was_typed_is_said_as_it_was_typed(word):
    name = {"checkpoint": "generate", "prompt": "generate", "runs": "compare"}.get(word.partition("=")[0], "train")
    (read,) = Typed(name, [word]).read().overrides
    said = line.unquoted(read)
    assert Typed(name, [said]).read().overrides == [read]
    if not word.startswith("runs"):
        assert said == word


# --- what a tiny run prints ------------------------------------------------------------------------------------------


def lines_of(text):
    """Every command in what was printed, with what stands before it."""
    return [
        found.strip() for found in re.findall(r"(?:cd \S+ && )?darkroom (?:train|compare|reproduce|sweep)[^\n]*", text)
    ]


def test_the_end_of_a_run_says_what_can_be_typed_from_anywhere(project, typed, tmp_path_factory, monkeypatch):
    from darkroom.reporting import summary
    from darkroom.tracking import run as running
    from darkroom.tracking.store import Store

    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    store = Store.open(project)
    with running.start(store, "gan/digits", "it's [1], mine", {"a": 1}, {"a": 1}, system_metrics=None) as opened:
        pass
    shown = []
    monkeypatch.setattr(summary, "say", shown.append)
    summary.interrupted(opened)
    (resumed,) = lines_of(shown[0])
    assert shlex.split(resumed) == ["darkroom", "train", f"resume={opened.id[:8]}"]
    dashboard = shlex.split(summary._dashboard(opened))
    assert dashboard[:2] == ["mlflow", "ui"]
    assert dashboard[-2:] == ["--backend-store-uri", store.uri]
    for reference in (opened.id[:8], f"{opened.id[:8]},namer", "namer", advice.run(opened.name)):
        code, _, err = typed(shlex.join(["compare", f"runs={reference}"]))
        assert code == 0, err


@pytest.mark.parametrize("name", ["plain", "gan-digits-3", "a,b", "it's", "[x]", " x", 'say "x"'])
def test_any_name_of_a_run_can_be_put_into_a_list(name):
    assert compose("compare", [f"runs={advice.run(name)},other"])["runs"] == [name, "other"]


def test_the_tests_would_see_bad_advice():
    with pytest.raises(UserError):
        composes("darkroom compare format=xml")
