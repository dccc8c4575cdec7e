"""The table of an evaluation, for the terminal and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from deeplab.evaluation.rows import Difference, Row
from deeplab.prediction.image_fit import Size

COLUMNS = ("model", "mIoU", "95 %", "less row 1", "pixel acc.", "mean acc.", "fw. IoU", "MAdds", "ms", "size")
_LEAST_NEEDED_FIRST = [COLUMNS.index(name) for name in ("fw. IoU", "mean acc.", "size", "pixel acc.", "less row 1")]


def cells(rows: Sequence[Row], differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """The text of the table, a tuple per row, as many as `COLUMNS`."""
    to_first = {difference.row: difference for difference in differences if difference.minus == 0}
    return [
        (
            row.name,
            percent(row.scores.miou),
            f"{percent(row.interval.low)}–{percent(row.interval.high)}" if row.interval else "",
            difference_text(to_first[i]) if i in to_first else "",
            percent(row.scores.pixel_accuracy),
            percent(row.scores.mean_accuracy),
            percent(row.scores.frequency_weighted_iou),
            amount(row.multiply_adds),
            f"{row.milliseconds:.1f}",
            megabytes(row.candidate.file_bytes),
        )
        for i, row in enumerate(rows)
    ]


def terminal_table(title: str, rows: Sequence[Row], differences: Sequence[Difference], width: int) -> Table:
    """The table for a terminal of `width` letters; columns that hold nothing, or do not fit, are left out."""
    text = cells(rows, differences)
    shown = [i for i in range(len(COLUMNS)) if any(line[i] for line in text)]
    wide = {i: max(len(COLUMNS[i]), *(len(line[i]) for line in text)) + 3 for i in shown}
    for dropped in _LEAST_NEEDED_FIRST:
        if sum(wide[i] for i in shown) >= width and dropped in shown:
            shown.remove(dropped)
    table = Table(title=title, title_justify="left")
    for i in shown:
        table.add_column(COLUMNS[i], justify="right" if i else "left", overflow="fold", no_wrap=i > 0)
    for line in text:
        table.add_row(*(line[i] for i in shown))
    return table


def notes(rows: Sequence[Row], size: Size) -> list[str]:
    """What a reader of the table must know, one sentence each."""
    found = [
        f"MAdds: multiply-adds for a picture of {size[0]}x{size[1]} pixels (a .tflite file: of its own size)",
        "ms: the network alone, all views of a picture, median, on this machine as busy as it was",
    ]
    for row in rows:
        if row.scores.resized:
            found.append(
                f"{row.name}: {row.scores.resized} of {len(row.scores.names)} pictures were larger than the model's "
                "input and were stretched to it"
            )
    most = max(len(row.scores.names) for row in rows)
    shorter = sorted({len(row.scores.names) for row in rows} - {most})
    for count in shorter:
        names = ", ".join(row.name for row in rows if len(row.scores.names) == count)
        found.append(f"measured on the first {count} of {most} pictures: {names}; differences are on these alone")
    return found


def to_mapping(data: str, rows: Sequence[Row], differences: Sequence[Difference], size: Size) -> dict[str, Any]:
    """All of it as JSON-ready values: what evaluation.json holds."""
    return {
        "data": data,
        "size": list(size),
        "rows": [row.to_mapping() for row in rows],
        "differences": [difference.to_mapping(rows) for difference in differences],
    }


def percent(share: float) -> str:
    """0.7269 as "72.69"; mIoU and accuracy are given in percent, as the papers do."""
    return f"{100 * share:.2f}"


def difference_text(difference: Difference) -> str:
    """A difference with its interval in points: "+0.45 [-0.02, +0.91]"."""
    value, low, high = (100 * x for x in (difference.interval.value, difference.interval.low, difference.interval.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def amount(count: float) -> str:
    """2750000000 as "2.75B"."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.2f}{letter}"
    return f"{count:.0f}"


def megabytes(count: int) -> str:
    """Bytes in MB of a million."""
    return f"{count / 1e6:.2f} MB"
