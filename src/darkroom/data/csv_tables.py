"""Tables from elsewhere: CSV in UTF-8, with or without a byte order mark."""

import csv
from pathlib import Path

from darkroom.errors import UserError

_LARGE = 2**29  # bytes; a row of each of a million pictures takes a tenth of that


def rows(table: Path) -> list[tuple[int, list[str]]]:
    """Return the rows of a table that are not blank, each with the number of its last line.

    Raises:
        UserError: it cannot be read as a table.
    """
    line = 0
    try:
        if (size := table.stat().st_size) > _LARGE:
            raise UserError(f"'{table}' is a table of {size / 2**20:.0f} MB, and at most {_LARGE >> 20} MB are read.")
        found = []
        with table.open(newline="", encoding="utf-8-sig") as file:
            for row in (reader := csv.reader(file, strict=True)):
                line = reader.line_num
                for column, cell in enumerate(row, start=1):
                    if "\0" in cell:
                        raise UserError(f"'{table}', line {line}, column {column}: a NUL byte, which no text holds:"
                                        " save it as CSV in UTF-8.")  # fmt: skip
                if any(cell.strip() for cell in row):
                    found.append((line, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        where = f"'{table}', after line {line}," if line else f"'{table}'"
        raise UserError(f"{where} cannot be read as a table ({error}): save it as CSV in UTF-8.") from error
    return found
