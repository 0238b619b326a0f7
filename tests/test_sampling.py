import pytest

from darkroom import sampling
from darkroom.captions import Vocabulary
from darkroom.errors import UserError

NAMES = ["cat", "dog", "10", "red-fox"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, None), ("0-3", [0, 1, 2, 3]), (3, [3]), ("1", [1]), ([1, 0], [1, 0]), ("cat,red-fox", [0, 3]),
     (["dog", 3], [1, 3]), ("10", [2]), ("1 - 2", [1, 2]), ("2,0-1", [2, 0, 1])],
)  # fmt: skip
def test_classes_are_asked_for_by_name_or_number(given, expected):
    assert sampling.parse_labels(given, NAMES) == expected


@pytest.mark.parametrize("given", ["4", "-1", "0-4", "3-1", "dgo", "", [], [7], 1.5, "cat,", "²"])
def test_unknown_classes_are_refused(given):
    with pytest.raises(UserError, match="labels="):
        sampling.parse_labels(given, NAMES)
    with pytest.raises(UserError, match="not conditional"):
        sampling.parse_labels(given, [])


def test_a_misspelt_class_is_answered_with_the_nearest():
    with pytest.raises(
        UserError, match=r"no class 'dgo' \(did you mean 'dog'\?\); known: 0 cat, 1 dog, 2 10, 3 red-fox"
    ):
        sampling.parse_labels("dgo", NAMES)


def test_a_model_that_does_not_read_says_so():
    with pytest.raises(UserError, match="does not read"):
        sampling.parse_prompts("a red ring", Vocabulary())
    assert sampling.parse_prompts(None, Vocabulary()) is None
    assert sampling.parse_prompts("a red, ring", Vocabulary(["a", "red", "ring"])) == ["a red, ring"]
