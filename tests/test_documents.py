"""YAML and JSON are measured before they become objects."""

import json

import pytest

from darkroom import documents
from darkroom.config.composing import compose
from darkroom.config.typed import Typed
from darkroom.errors import UserError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
BAD = {
    "deep in brackets": (b"a: " + b"[" * 300 + b"]" * 300, "more than 40 deep"),
    "deep in lines": ("\n".join("  " * n + "a:" for n in range(300)).encode(), "more than 40 deep"),
    "of aliases": (LAUGHS.encode(), "more than 50000 settings"),
    "within itself": (b"a: &a [*a]", "more than 50000 settings"),
    "binary": (b"\x80\x81\xff", "no text in UTF-8"),
    "in Latin-1": ("name: é".encode("latin-1"), "no text in UTF-8"),
    "with a NUL": (b"a: b\0", "is not YAML"),
    "of a tag": (b"a: !!python/name:os.system ", "is not YAML"),
    "of a long number": (b"a: " + b"9" * 5000, "cannot be read"),
    "unfinished": (b"a: [1", "is not YAML"),
    "of no alias": (b"a: *b", "is not YAML"),
    "twice": (b"a: 1\na: 2", ""),
    "too long": (b"a: 1 # " + b"x" * 2**21, "has 2.0 MB"),
    "a list": (b"- 1", "holds no settings"),
}


@pytest.mark.parametrize("name", BAD)
def test_yaml_from_elsewhere_is_read_or_refused_in_a_sentence(tmp_path, name):
    content, what = BAD[name]
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    if not what:
        assert documents.read_yaml(path) == {"a": 2}
        return
    with pytest.raises(UserError, match=what) as refused:
        documents.read_yaml(path)
    assert str(path) in str(refused.value)


def test_anchors_in_small_numbers_are_fine(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")
    assert documents.read_yaml(tmp_path / "x.yaml") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("twice", "a list")])
def test_hydra_is_given_no_file_that_is_too_deep_or_too_large(tmp_path, name):
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_bytes(b"# @package _global_\n" + BAD[name][0])
    with pytest.raises(UserError, match=r"mine\.yaml"):
        compose("train", ["experiment=mine"], overlay=tmp_path)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("x=" + "[" * 300, "brackets more than 40 deep"),
        ("x=[" + "1," * 3000 + "1]", "3000 values"),
        ("x=" + "y" * 60_000, "60002 characters"),
    ],
)
def test_what_is_typed_is_measured_too(override, what):
    with pytest.raises(UserError, match=what):
        Typed.parse("train", [override])


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"points": 3}', b'{"points": [{}]}', b"\xff", b"{}"]
)
def test_json_is_of_its_kind(tmp_path, content):
    from darkroom.sweeping.study import Record

    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json"):
        documents.read_json(tmp_path / "x.json", Record)
    (tmp_path / "x.json").write_text(json.dumps({"points": [{"number": 1, "values": {"a": 2}, "curve": {"1": 0.5}}]}))
    assert documents.read_json(tmp_path / "x.json", Record)["points"][0]["number"] == 1
