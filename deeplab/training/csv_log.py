"""CSV tables that grow by one row at a time, with the step in the first column."""

import csv
from collections.abc import Sequence
from pathlib import Path

from deeplab.files import atomic_write


def start_table(path: Path, columns: Sequence[str], start: int) -> None:
    """Create the table, or remove the rows after step `start`, which a resumed training writes again.

    Incomplete rows of an interrupted training are removed too. Columns that the table of an older version lacks at its
    end are filled with NaN.
    """
    rows = []
    if path.is_file():
        header, *found = _read_rows(path)
        if header == list(columns[: len(header)]):
            complete = [row for row in found if len(row) == len(header) and row[0].isdecimal()]
            rows = [row + ["nan"] * (len(columns) - len(header)) for row in complete if int(row[0]) <= start]
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def append_row(path: Path, row: Sequence[object]) -> None:
    """Add a row to the table."""
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(row)


def read_table(path: Path) -> dict[str, list[float]]:
    """Read the columns of a table of numbers; incomplete rows are left out, and a missing file has no columns."""
    if not path.is_file():
        return {}
    header, *rows = _read_rows(path)
    complete = [row for row in rows if len(row) == len(header)]
    return {name: [float(row[i]) for row in complete] for i, name in enumerate(header)}


def _read_rows(path: Path) -> list[list[str]]:
    """Return the header and the rows, without a last one that was cut within its line."""
    with path.open(newline="") as file:
        lines = [line for line in file if line.endswith("\n")]
    return list(csv.reader(lines)) or [[]]
