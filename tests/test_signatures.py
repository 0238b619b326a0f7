import importlib
import inspect

import pytest

from darkroom.signatures import PASSED_ON, TargetError, signature


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


def test_every_target_is_read_as_python_would_read_it(everything):
    named = {target for _, _, node in everything for target in targets(node)}
    assert len(named) > 20
    for target in named:
        module, _, name = target.rpartition(".")
        expected = dict(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
        if target in PASSED_ON:
            assert expected.popitem()[1].kind is inspect.Parameter.VAR_KEYWORD
            module, _, name = PASSED_ON[target].rpartition(".")
            expected |= inspect.signature(getattr(importlib.import_module(module), name)).parameters
        read = signature(target)
        assert not read.open, target
        assert list(read.parameters) == list(expected), target
        required = [key for key, parameter in expected.items() if parameter.default is inspect.Parameter.empty]
        assert [key for key, parameter in read.parameters.items() if parameter.required] == required, target


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("Gan", "no module"),
        ("nowhere.Gan", "there is no module 'nowhere'"),
        ("darkroom.nowhere.Gan", "there is no module 'darkroom.nowhere'"),
        ("darkroom.models.gan.Nothing", "'darkroom.models.gan' defines no 'Nothing'"),
        ("darkroom.models.gan", "is a module"),
        ("darkroom.errors.deep.Thing", "there is no module"),
    ],
)
def test_what_does_not_exist_is_named(target, sentence):
    with pytest.raises(TargetError, match=sentence):
        signature(target)


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .parts import Plain, made as renamed\nfrom .parts import *\n")
    (folder / "parts.py").write_text(
        "raise RuntimeError('imported')\n"
        "from dataclasses import dataclass\n"
        "class Plain:\n    def __init__(self, a, b: int = 1, *, c: 'str', d=2): ...\n"
        "class Heir(Plain): ...\n"
        "class Open(Plain):\n    def __init__(self, x, **rest): ...\n"
        "@dataclass\nclass Record:\n    left: int\n    right: float = 1.0\n"
        "def made(size: int, colour='red'): ...\n"
        "class Foreign(unknown.Thing): ...\n"
        "if True:\n    class Inside:\n        def __init__(self, z): ...\n"
        "value = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "elsewhere"


@pytest.mark.parametrize(
    ("name", "parameters", "required", "is_open"),
    [
        ("parts.Plain", ["a", "b", "c", "d"], ["a", "c"], False),
        ("parts.Heir", ["a", "b", "c", "d"], ["a", "c"], False),
        ("parts.Open", ["x"], ["x"], True),
        ("parts.Record", ["left", "right"], ["left"], False),
        ("parts.made", ["size", "colour"], ["size"], False),
        ("parts.Inside", ["z"], ["z"], False),
        ("parts.Foreign", [], [], True),
        ("parts.value", [], [], True),
        ("Plain", ["a", "b", "c", "d"], ["a", "c"], False),
        ("renamed", ["size", "colour"], ["size"], False),
        ("Record", ["left", "right"], ["left"], False),
    ],
)
def test_a_signature_is_read_without_importing(package, name, parameters, required, is_open):
    read = signature(f"{package}.{name}")  # the module would raise if it were imported
    assert list(read.parameters) == parameters
    assert [key for key, parameter in read.parameters.items() if parameter.required] == required
    assert read.open == is_open


def test_annotations_are_kept_as_they_are_written(package):
    read = signature(f"{package}.parts.Plain").parameters
    assert (read["a"].annotation, read["b"].annotation, read["c"].annotation) == ("", "int", "'str'")
