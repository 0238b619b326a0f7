import json

import pytest

from darkroom.errors import UserError
from darkroom.tracking import outputs


def leave(folder, **contents):
    with outputs.writing(folder, "index.json", {"run_id": "3f2a"}) as target:
        for name, text in contents.items():
            (target / "deep").mkdir(exist_ok=True)
            (target / "deep" / name).write_text(text)


def test_a_folder_lists_what_is_in_it_and_an_earlier_one_is_replaced(tmp_path):
    folder = tmp_path / "above" / "left"
    leave(folder, one="1", two="2")
    leave(folder, two="3")
    assert json.loads((folder / "index.json").read_text()) == {"run_id": "3f2a", "files": ["deep/two"]}
    assert (folder / "deep" / "two").read_text() == "3"
    assert not (folder / "deep" / "one").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["left"]


def test_an_error_leaves_what_was_there(tmp_path):
    leave(tmp_path / "left", one="1")
    with pytest.raises(IsADirectoryError), outputs.writing(tmp_path / "left", "index.json", {}) as target:
        target.write_text("")  # a folder takes no text
    assert (tmp_path / "left" / "deep" / "one").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["left"]


def test_files_of_others_are_never_replaced(tmp_path):
    folder = tmp_path / "left"
    leave(folder, one="1")
    (folder / "deep" / "mine").write_text("mine")
    with pytest.raises(UserError, match="'deep/mine', which this command did not write"):
        leave(folder, one="2")
    assert (folder / "deep" / "one").read_text() == "1"

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "index.json").write_text("not json")
    (tmp_path / "photos" / "holiday.jpg").write_text("")
    with pytest.raises(UserError, match="holiday"):
        outputs.check(tmp_path / "photos", "index.json")
    with pytest.raises(UserError, match="is a file"):
        outputs.check(tmp_path / "photos" / "holiday.jpg", "index.json")
    (tmp_path / "empty").mkdir()
    leave(tmp_path / "empty", one="1")
    assert (tmp_path / "empty" / "deep" / "one").read_text() == "1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": null}', "{"])
def test_what_stands_for_no_run(text, tmp_path):
    (tmp_path / outputs.RUN).write_text(text)
    assert outputs.run_id(tmp_path) is None
    assert outputs.run_id(tmp_path / "nowhere") is None
