"""Tables that grow by a line at a time, in CSV files."""

import csv
from collections.abc import Sequence
from pathlib import Path


def kept_rows(path: Path, columns: Sequence[str], start: int) -> list[list[str]]:
    """The rows of a table up to step `start`; those beyond, of a run that was cut off, and half rows are left out."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == len(columns) and row[0].isdecimal()]
    return [row for row in rows if int(row[0]) <= start]
