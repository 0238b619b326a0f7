import re
import shlex

import pytest

from darkroom import paths
from darkroom.commands.check import choices
from darkroom.config.checking import check, in_full
from darkroom.config.composing import compose
from darkroom.config.schema import SCHEMAS
from darkroom.signatures import PASSED_ON, signature

CONF = paths.conf()
EXPERIMENTS = sorted((CONF / "experiment").rglob("*.yaml"))
FILES = [name for name, _, _ in choices(CONF)]


def option(file):
    return str(file.relative_to(CONF / "experiment").with_suffix(""))


@pytest.fixture
def composed(everything):
    return {file: (name, node) for file, name, node in everything}


@pytest.mark.parametrize("file", FILES)
def test_every_file_can_be_used(file, composed):
    name, node = composed[file]
    check(node, name)


def test_no_file_is_passed_over():
    every = {str(file.relative_to(CONF)) for file in CONF.rglob("*.yaml")}
    own = {f"local/{file.name}" for file in (CONF / "local").glob("*.yaml")}
    assert every - set(FILES) <= own | {"pipeline.yaml"}  # which DVC reads, and no command


@pytest.mark.parametrize("file", FILES)
def test_every_file_says_what_it_is(file):
    lines = (CONF / file).read_text().splitlines()
    first = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert re.match(r"# \S.*[.:]?$", first)
    assert max(map(len, lines)) <= 120


def headers(file):
    lines = file.read_text().splitlines()
    return {
        word: next((line.partition(":")[2].strip() for line in lines if line.startswith(f"# {word}:")), None)
        for word in ("Run", "Takes", "Reaches")
    }


@pytest.mark.parametrize("file", EXPERIMENTS, ids=option)
def test_every_experiment_opens_with_what_it_is(file):
    lines = file.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert re.match(r"# [A-Z].{20,}", lines[1])
    assert all(headers(file).values())
    below = [line for line in lines if line.startswith("#")]
    assert lines[: len(below)] == below, "the header stands above everything else"


@pytest.mark.parametrize("file", EXPERIMENTS, ids=option)
def test_the_command_of_every_experiment_composes(file):
    program, name, *overrides = shlex.split(headers(file)["Run"])
    assert (program, name) == ("darkroom", "train")
    assert f"experiment={option(file)}" in overrides
    filled = [re.sub(r"=<\w+>$", "=somewhere", override) for override in overrides]
    check(compose(name, filled), name)


TOP = {
    "seed: 7": ("seed", 7),
    'precision: "bf16-mixed"': ("precision", "bf16-mixed"),
    "budget: {images: 7, minutes: 3}": ("budget", {"images": 7, "minutes": 3.0}),
    "saving: {samples: 7}": ("saving.samples", 7),
    "tracking: {log_every: 7}": ("tracking.log_every", 7),
    "metrics: {every: 7}": ("metrics.every", 7),
    "trainer: {devices: 3}": ("trainer.devices", 3),
    "data: {batch_size: 7}": ("data.batch_size", 7),
    "model: {latent_dim: 7, generator: {width: 8}}": ("model.latent_dim", 7),
    "paths: {data: /somewhere}": ("paths.data", "/somewhere"),
    "name: seven": ("name", "seven"),
}


def at(node, path):
    for part in path.split("."):
        node = node[part]
    return node


@pytest.mark.parametrize("group", ["experiment", "profile", "local"])
def test_a_file_of_ones_own_may_change_whatever_the_primary_sets(group, tmp_path):
    (tmp_path / group).mkdir()
    text = "\n".join(["# @package _global_", *TOP])
    (tmp_path / group / "default.yaml").write_text(text)
    chosen = [] if group == "local" else [f"{group}=default"]
    node = compose("train", chosen, overlay=tmp_path)
    assert {path: at(node, path) for path, _ in TOP.values()} == dict(TOP.values())
    # and what is typed wins over every file
    assert compose("train", [*chosen, "seed=8", "model.latent_dim=9"], overlay=tmp_path)["seed"] == 8


def test_a_profile_says_how_much_and_has_the_last_word():
    node = compose("train", ["experiment=gan/mnist", "profile=smoke"])
    assert node["budget"] == {"images": 500, "minutes": None}
    assert node["data"]["held_out"] == 80
    assert node["data"]["source"]["name"] == "mnist"


def test_precision_reaches_the_trainer():
    assert compose("train", ["precision=bf16-mixed"])["trainer"]["precision"] == "bf16-mixed"


def test_a_model_brings_its_metrics_and_the_line_may_choose_others():
    assert "Classification" in compose("train", ["model=classifier"])["metrics"]["_target_"]
    assert "Generative" in compose("train", [])["metrics"]["_target_"]


def nodes(node, path=""):
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from nodes(value, f"{path}.{key}" if path else key)


@pytest.mark.parametrize("file", FILES)
def test_keys_are_the_parameters_of_what_they_build(file, composed):
    _, node = composed[file]
    for path, part in nodes(in_full(node)):
        parameters = signature(part["_target_"]).parameters
        accepted = set(parameters)
        given = {key for key in part if not key.startswith("_")}
        assert given <= accepted, path
        ours = part["_target_"].startswith("darkroom.") and path != "model" and part["_target_"] not in PASSED_ON
        supplied = {name for name, parameter in parameters.items() if parameter.supplied}
        if ours and not path.endswith(("discriminator", "schedule")):
            assert given == accepted - supplied, f"{path} leaves a setting unsaid"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_primary_sets_every_key_of_its_schema(name):
    import dataclasses

    import yaml

    written = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    if "training" in written["defaults"]:  # train.yaml, word for word
        first = yaml.safe_load((CONF / "train.yaml").read_text())
        written |= first | {"defaults": first["defaults"] + written["defaults"]}
    groups = {next(iter(entry)) for entry in written["defaults"] if isinstance(entry, dict)}
    fields = {field.name for field in dataclasses.fields(SCHEMAS[name])}
    assert fields == (set(written) | groups) & fields
