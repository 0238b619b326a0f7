"""What a table beside the pictures says of each one: who took it, with which camera, of whom."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from darkroom.data import csv_tables
from darkroom.errors import UserError

LOG = logging.getLogger(__name__)
TABLE = "metadata.csv"
FILE = "file_name"  # the column that names the picture; without it, the first one does


def read(folders: Iterable[Path], files: Sequence[Path]) -> dict[str, list[str]]:
    """Return the columns of every ``metadata.csv`` in these folders: for each file its cell, "" where there is none.

    Rows name pictures relative to the folder of the table, as in the data sets of Hugging Face. Rows of pictures that
    are not there are passed over with a warning.

    Raises:
        UserError: a table that cannot be read, that says two things of one picture, or that names none of them.
    """
    positions = {os.path.normpath(file): number for number, file in enumerate(files)}
    columns: dict[str, list[str]] = {}
    for table in (folder / TABLE for folder in folders):
        if not table.is_file():
            continue
        unknown: list[str] = []
        header, rows = _rows(table)
        file_column = header.index(FILE) if FILE in header else 0
        for line, row in rows:
            number = positions.get(os.path.normpath(table.parent / row[file_column].strip().replace("\\", "/")))
            if number is None:
                unknown.append(row[file_column])
                continue
            for name, cell in zip(header, map(str.strip, row), strict=True):
                if name == header[file_column] or not cell:
                    continue
                values = columns.setdefault(name, [""] * len(files))
                if values[number] not in ("", cell):
                    raise UserError(
                        f"'{table}', line {line}: '{row[file_column]}' has {name} '{cell}' here and '{values[number]}'"
                        " in another row: keep one of them."
                    )
                values[number] = cell
        if unknown and len(unknown) == len(rows):
            raise UserError(
                f"'{table}' names no picture that is there ('{unknown[0]}', for one): its column"
                f" '{header[file_column]}' must hold paths relative to '{table.parent}', such as"
                f" '{os.path.relpath(_nearest(table.parent, files), table.parent)}'."
            )
        if unknown:
            LOG.warning("'%s': %d rows name no picture that is there, '%s' for one", table, len(unknown), unknown[0])
    return columns


def _rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header of a table and its rows, with their lines, blank ones left out."""
    found = csv_tables.rows(table)
    header = [name.strip() for name in found[0][1]] if found else []
    if len(header) < 2:
        raise UserError(
            f"'{table}' was expected to begin with a line such as 'file_name,camera', names of columns with commas"
            f" between them, but begins with '{','.join(header)}'."
        )
    if len(set(header)) < len(header) or "" in header:
        raise UserError(f"'{table}' has columns without a name, or with the same name: {', '.join(header)}.")
    for line, row in found[1:]:
        if len(row) != len(header):
            raise UserError(
                f"'{table}', line {line}: {len(row)} cells where the header has {len(header)}: put cells that hold a"
                " comma in double quotes."
            )
    return header, found[1:]


def _nearest(folder: Path, files: Sequence[Path]) -> Path:
    """Return a picture below a folder, or any if there is none."""
    return next((file for file in files if file.is_relative_to(folder)), files[0])
