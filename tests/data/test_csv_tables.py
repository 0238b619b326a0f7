"""Tables from elsewhere."""

import pytest

from darkroom.data import csv_tables
from darkroom.errors import UserError


def test_rows_have_their_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbffile,label\n\n"a\nb",1\r\n,\nc,2')
    assert csv_tables.rows(tmp_path / "t.csv") == [(1, ["file", "label"]), (4, ["a\nb", "1"]), (6, ["c", "2"])]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a,b\nc,\xff\n", "cannot be read as a table"),
        ("a,b\n1,2".encode("utf-16"), "cannot be read as a table"),
        (b"a,b\n1,2\0\n", "line 2, column 2: a NUL byte"),
        (b"a,b\n1," + b"x" * 200_000, "after line 1, cannot be read as a table"),
        (b'a,b\n1,"2', "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused_with_the_line(tmp_path, content, what):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=what):
        csv_tables.rows(tmp_path / "t.csv")
