import pytest

from darkroom import variables
from darkroom.errors import UserError


@pytest.mark.parametrize(("text", "found"), [(None, 2.0), ("", 2.0), ("0.5", 0.5), ("4", 4.0)])
def test_a_number_or_what_counts_without_one(monkeypatch, text, found):
    if text is not None:
        monkeypatch.setenv("HERE", text)
    assert variables.number("HERE", 2.0) == found


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "-1", "1,5", "9" * 5000])
def test_what_is_no_number_is_said(monkeypatch, text):
    monkeypatch.setenv("HERE", text)
    with pytest.raises(UserError, match="environment variable HERE"):
        variables.count("HERE")
    monkeypatch.setenv("HERE", "0.5")
    with pytest.raises(UserError, match="a count was expected"):
        variables.count("HERE")
