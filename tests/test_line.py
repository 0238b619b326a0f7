"""What may be typed: a text is taken as it stands, a list without brackets, and neither by a list of names."""

import dataclasses
import itertools
import shlex

import pytest

from darkroom import line
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.config.schema import SCHEMAS
from darkroom.config.typed import Typed
from darkroom.errors import UserError

AWKWARD = [
    "a=b",
    "a,b",
    "/tmp/run [1]/x.ckpt",
    "/data/año,2026=x",
    "it's",
    'say "aye"',
    "'a' and 'b'",
    "Фото/кошка",
    "写真",
    "cat 🐈",
    "~/pictures",
    "C:\\pictures\\",
    "\\'",
    " spaces ",
    "12e4",
    "007",
    "true",
    "-1",
    "a: b",
    "{a}",
    "[a]b",
    "(a)",
    "#1",
    "50%",
    "what?",
    "*",
    "choice(a,b)",
    "str(3)",
    "a\nb",
    "a\r",
    "a;b&c|d",
    "@b",
    "+c",
    "$HOME",
    "=",
    ",",
    "e\u0301",
]


def text_settings():
    """Every setting of a schema that is a text, by command: found by its type, with no help from `darkroom.line`."""

    def below(schema, path=""):
        for field in dataclasses.fields(schema):
            if dataclasses.is_dataclass(field.type):
                yield from below(field.type, f"{path}{field.name}.")
            elif field.type in (str, str | None) or field.metadata:
                yield f"{path}{field.name}"

    return {name: list(below(schema)) for name, schema in SCHEMAS.items()}


# In groups, the line that brings the setting.
IN_GROUPS = {
    "train data=folder": ("data.source.root",),
    "train data=folder data@data.source.real=digits data=real_or_generated": ("data.source.generator",),
    "train data=two_folders": ("data.source.a", "data.source.b"),
    "train metrics=inception": ("metrics.judge", "metrics.weights", "metrics.cache"),
    "train model=classifier network@model.network=timm": ("model.network.name",),
    "train submit=slurm": ("submit.partition", "submit.account", "submit.constraint"),
    "train +tracking.tags.b=c": ("tracking.tags.b",),
    "evaluate data=folder metrics=generative": ("data.source.root", "metrics.judge"),
    "prepare data=folder": ("data.source.root",),
    "sweep search=gan data=folder": ("data.source.root", "name", "tracking.experiment"),
}


def at(node, path):
    for part in path.split("."):
        node = node[part]
    return node


def settings():
    return [*((name, keys) for name, keys in text_settings().items() if keys), *IN_GROUPS.items()]


def test_there_are_texts_to_walk():
    found = text_settings()
    assert {"name", "resume", "paths.data", "tracking.register"} <= set(found["train"])
    assert {"input", "mask"} <= set(found["edit"])
    assert "prompt" in found["generate"]


def taken(words, keys, values):
    """Compose a line in which each setting has one of the values, and return what was made of it."""
    name, *chosen = words.split()
    typed = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
    node = compose(name, [*chosen, *typed])
    return [at(node, key) for key in keys]


@pytest.mark.parametrize(("words", "keys"), settings(), ids=lambda each: each if isinstance(each, str) else "")
def test_a_text_is_taken_as_it_stands(words, keys):
    values = list(itertools.islice(itertools.cycle(AWKWARD), len(keys)))
    assert taken(words, keys, values) == values


@pytest.mark.slow
@pytest.mark.parametrize("first", range(len(AWKWARD)), ids=AWKWARD)
def test_every_text_takes_every_value(first):
    for words, keys in settings():
        values = list(itertools.islice(itertools.cycle(AWKWARD[first:] + AWKWARD[:first]), len(keys)))
        assert taken(words, keys, values) == values


@pytest.mark.parametrize("value", AWKWARD)
def test_what_was_read_is_read_as_the_same_again_and_can_be_typed_again(value):
    kind = line.Kind.of("str | None")
    once = line.read(value, kind)
    assert line.read(once, kind) == once
    again = line.unquoted(f"name={once}").removeprefix("name=")
    assert line.read(again, kind) == once
    assert shlex.split(shlex.quote(again)) == [again]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("'a b'", "a b"),
        ('"a, b"', "a, b"),
        ("'it\\'s'", "it's"),
        ("''", ""),
        ("null", None),
        ("'null'", "null"),
        ("x-${seed}", "x-7"),
        ("'x-${seed}'", "x-7"),
        ("\\${seed}", "${seed}"),
        ("", ""),
    ],
)
def test_quotes_null_and_references_mean_what_they_mean_to_hydra(typed, value):
    assert compose("train", ["seed=7", f"name={typed}"])["name"] == value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("3f2a", ["3f2a"]),
        ("3f2a,9b1c", ["3f2a", "9b1c"]),
        ("12e4", ["12e4"]),
        ("[3f2a]", ["3f2a"]),
        ("[12e4, best]", ["12e4", "best"]),
        ("[]", []),
        ("null", None),
        ("'a,b',c", ["a,b", "c"]),
        ("['a,b',it's]", ["a,b", "it's"]),
        ("gan digits #1,Фото", ["gan digits #1", "Фото"]),
        ("runs[1]", ["runs[1]"]),
    ],
)
def test_a_list_needs_no_brackets(typed, value):
    assert compose("compare", [f"runs={typed}"])["runs"] == value


LISTS = {
    "compare": ["runs"],
    "report": ["runs"],
    "explain": ["methods"],
    "audit": ["generators"],
}
# Of the part that a command is about, the line that brings it.
OPERATIONS = {
    "hold": "operation=attribute attribute=slant",
    "range": "operation=attribute attribute=slant",
    "prompt": "operation=attribute attribute=slant",
    "weights": "operation=stylize",
    "style": "operation=stylize",
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in LISTS.items() for key in keys])
def test_every_list_of_a_schema_takes_one_several_and_brackets(name, key):
    kinds = {field.name: field for field in dataclasses.fields(SCHEMAS[name])}
    words = ["0.5", "2"] if "float" in str(kinds[key].type) else ["a", "b"]
    values = [float(word) for word in words] if words[0] == "0.5" else words
    alone = kinds[key].metadata  # a text or a list of texts: then a comma is part of the text
    made = {typed: compose(name, [f"{key}={typed}"])[key] for typed in
            (words[0], ",".join(words), f"[{','.join(words)}]")}  # fmt: skip
    assert list(made.values()) == ([words[0], ",".join(words), words] if alone else [values[:1], values, values])


@pytest.mark.parametrize("key", OPERATIONS)
def test_every_list_of_an_operation_takes_one_several_and_brackets(key):
    words = ["0.5", "2"] if key in ("range", "weights") else ["a", "b"]
    values = [float(word) for word in words] if words[0] == "0.5" else words
    alone = key in ("prompt", "style")  # a text or a list of texts: then a comma is part of the text
    typed = (words[0], ",".join(words), f"[{','.join(words)}]")
    made = [compose("edit", [*OPERATIONS[key].split(), f"{key}={value}"])["operation"][key] for value in typed]
    assert made == ([words[0], ",".join(words), words] if alone else [values[:1], values, values])


def test_no_list_of_a_schema_is_left_out_of_the_walk():
    found = {
        name: [field.name for field in dataclasses.fields(schema) if "list[" in f"{field.type}{field.metadata}"]
        for name, schema in SCHEMAS.items()
    }
    others = {"generate": ["prompt"]}  # as that of an operation
    assert {name: sorted(keys) for name, keys in found.items() if keys} == {
        name: sorted(keys) for name, keys in (LISTS | others).items()
    }


def test_lists_of_numbers_in_groups_need_none_either():
    node = compose("train", ["model=classifier", "network@model.network=speedrun", "model.network.widths=8,16"])
    assert node["model"]["network"]["widths"] == [8, 16]
    assert compose("train", ["trainer.devices=0"])["trainer"]["devices"] == 0
    optimizer = compose("train", ["model.generator_optimizer.betas=0,0.9"])["model"]["generator_optimizer"]
    assert optimizer["betas"] == [0, 0.9]


def points(typed_line, typed):
    seen = []
    code, _, err = typed(typed_line, instead=seen.append)
    assert code == 0, err
    return seen


def test_in_a_grid_a_comma_stands_between_two_points_unless_it_is_quoted(typed, root):
    assert [
        node["checkpoint"] for node in points("generate -m checkpoint=12e4,/a [1]=x".replace(" [", "\\ ["), typed)
    ] == [
        "12e4",
        "/a [1]=x",
    ]
    quoted = shlex.join(["generate", "-m", "checkpoint='a,b',c"])
    assert [node["checkpoint"] for node in points(quoted, typed)] == ["a,b", "c"]
    lists = shlex.join(["compare", "-m", "runs=[a,b],c"])
    assert [node["runs"] for node in points(lists, typed)] == [["a", "b"], ["c"]]


def test_a_text_of_a_part_reaches_it_as_typed():
    source = compose("train", ["data=folder", "data.source.root=\\${oc.env:HOME} [1]"])["data"]["source"]
    assert build(source).root == "${oc.env:HOME} [1]"


DASHES = {
    "train --experiment=gan/mnist": "type experiment=gan/mnist",
    "train --experiment gan/mnist": "type experiment=gan/mnist",
    "train --seed=3": "type seed=3",
    "train -seed 3": "type seed=3",
    "train --model gan": "type model=gan",
    "train --name='a b'": "type 'name=a b'",
    "train --resume": "type resume=<value>",
    "train --model.latent-dim=3": "type model.latent_dim=3",
    "train --data@data.source.real=digits": "type data@data.source.real=digits",
    "generate --count=3": "type count=3",
    "generate -checkpoint latest": "type checkpoint=latest",
    "edit -input a.png": "type input=a.png",
    "edit --prompt=x": "type prompt=x",
    "compare --runs=3f2a": "type runs=3f2a",
    "compare --anything=3": "type anything=3",
}


@pytest.mark.parametrize("words", DASHES)
def test_settings_with_dashes_are_answered_without(words, typed, root):
    code, _, err = typed(words, instead=print)
    assert code == 2
    assert DASHES[words] in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_setting_with_dashes_is_answered(name):
    for key in [field.name for field in dataclasses.fields(SCHEMAS[name])]:
        for words in ([f"--{key}=x"], [f"--{key}", "x"], [f"-{key}", "x"], [f"-{key}=x"]):
            with pytest.raises(UserError, match=f"type {key}=x"):
                Typed.parse(name, words)


@pytest.mark.parametrize("words", ["--config-dir name", "-c job", "--cfg job -p seed", "-m", "--hydra-help", "-h"])
def test_hydras_own_options_are_left_alone(words):
    Typed.parse("train", words.split())


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("train 'seed=1\r'", "'seed=1\\r' holds '\\r'"),
        ("train 'precision=32\r'", "'32\\r'"),
        ("train 'model=gan\r'", "'model=gan\\r' holds '\\r'"),
        ("train 'seed=\x1b[31m1'", "\\x1b[31m1"),
        ("train 'split=\x07'", "\\x07"),
    ],
)
def test_what_cannot_be_seen_is_shown(words, fragment, typed, root):
    code, _, err = typed(words, instead=print)
    assert code == 2
    assert fragment in err
    assert err.count("\n") == 1
    assert err.removesuffix("\n").isprintable()
