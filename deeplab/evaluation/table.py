"""The table of an evaluation, for the terminal and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from deeplab.evaluation.rows import Difference, Row
from deeplab.prediction.image_fit import Size

COLUMNS = (
    "model", "mIoU", "95 % interval", "minus row 1", "pixel acc.", "mean acc.", "fw. IoU", "MAdds", "ms", "size",
)  # fmt: skip
_DROPPED_FIRST = [COLUMNS.index(name) for name in ("fw. IoU", "mean acc.", "size", "pixel acc.", "minus row 1")]


def cells(rows: Sequence[Row], differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """Return the text of the table: for each row one text per column of `COLUMNS`."""
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
            f"{row.candidate.file_bytes / 1e6:.2f} MB",
        )
        for i, row in enumerate(rows)
    ]


def terminal_table(title: str, rows: Sequence[Row], differences: Sequence[Difference], width: int) -> Table:
    """Return the table for a terminal of `width` characters, without empty columns and those that do not fit."""
    text = cells(rows, differences)
    shown = [i for i in range(len(COLUMNS)) if any(line[i] for line in text)]
    widths = {i: max(len(COLUMNS[i]), *(len(line[i]) for line in text)) + 3 for i in shown}
    for dropped in _DROPPED_FIRST:
        if sum(widths[i] for i in shown) >= width and dropped in shown:
            shown.remove(dropped)
    table = Table(title=title, title_justify="left")
    for i in shown:
        table.add_column(COLUMNS[i], justify="right" if i else "left", overflow="fold", no_wrap=i > 0)
    for line in text:
        table.add_row(*(line[i] for i in shown))
    return table


def notes(rows: Sequence[Row], size: Size) -> list[str]:
    """Return the explanations below the table, one sentence each; multiply-adds were counted at `size`."""
    sentences = [
        f"MAdds: multiply-adds for an image of {size[0]}x{size[1]} pixels (a .tflite file: of its own input size)",
        "ms: median network time per image on this machine under its load at the time, all scales and flips together",
    ]
    for row in rows:
        if row.scores.stretched:
            sentences.append(
                f"{row.name}: {row.scores.stretched} of {len(row.scores.names)} images were larger than the model's "
                "input and were stretched to it"
            )
    counts = [len(row.scores.names) for row in rows]
    for count in sorted(set(counts) - {max(counts)}):
        names = ", ".join(row.name for row in rows if len(row.scores.names) == count)
        sentences.append(
            f"evaluated on the first {count} of {max(counts)} images: {names}; differences to other rows use these only"
        )
    return sentences


def to_mapping(data: str, rows: Sequence[Row], differences: Sequence[Difference], size: Size) -> dict[str, Any]:
    """Return the content of evaluation.json as JSON-ready values."""
    return {
        "data": data,
        "size": list(size),
        "rows": [row.to_mapping() for row in rows],
        "differences": [difference.to_mapping(rows) for difference in differences],
    }


def percent(fraction: float) -> str:
    """Format 0.7269 as "72.69", in percent as in the papers."""
    return f"{100 * fraction:.2f}"


def difference_text(difference: Difference) -> str:
    """Format a difference and its interval in points: "+0.45 [-0.02, +0.91]"."""
    value, low, high = (100 * x for x in (difference.interval.value, difference.interval.low, difference.interval.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def amount(count: float) -> str:
    """Format 2750000000 as "2.75B"."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.2f}{letter}"
    return f"{count:.0f}"
