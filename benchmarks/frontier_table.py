"""The frontier of accuracy against time and bytes: Pareto front, choice by budget, table, JSON and page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from deeplab.config import to_mapping
from deeplab.evaluation.bootstrap import LEVEL, Interval
from deeplab.evaluation.table import difference_text, percent
from deeplab.rendering import charts
from deeplab.rendering.html import render_page
from deeplab.rendering.markdown import markdown_text


@dataclass(frozen=True)
class Row:
    """A measured .tflite file.

    Attributes:
        name: of the row.
        path: of the file.
        sha256: of the file.
        input: dtype, size and fit of the images, as in "uint8 449x449 letterboxed".
        output: dtype and size of the mask.
        bytes: size of the file.
        miou: over the classes in the labels, with its interval, 0..1.
        difference: paired difference of the mIoU to the reference; None in its own row.
        milliseconds: median time of the network per image, by number of threads.
        speed: how many times as fast as the reference, by number of threads.
    """

    name: str
    path: str
    sha256: str
    input: str
    output: str
    bytes: int
    miou: Interval
    difference: Interval | None
    milliseconds: Mapping[int, float]
    speed: Mapping[int, float]

    @property
    def threads(self) -> int:
        """The first number of threads, which fronts, order and budgets use."""
        return next(iter(self.milliseconds))

    @property
    def time(self) -> float:
        """Milliseconds with the first number of threads."""
        return self.milliseconds[self.threads]


@dataclass(frozen=True)
class Frontier:
    """All rows, by increasing time.

    Attributes:
        rows: the files.
        reference: name of the row that differences and speeds refer to.
        data: the images, as in "VOC 2012 val, 60 images".
        conditions: how the time was measured, in one line.
        notes: further sentences below the table.
    """

    rows: tuple[Row, ...]
    reference: str
    data: str
    conditions: str
    notes: tuple[str, ...] = ()

    @property
    def front_of_time(self) -> list[Row]:
        """The Pareto front of (ms, mIoU), by increasing time."""
        return pareto_front(self.rows, lambda row: row.time)

    @property
    def front_of_bytes(self) -> list[Row]:
        """The Pareto front of (bytes, mIoU), by increasing bytes."""
        return pareto_front(self.rows, lambda row: row.bytes)


def pareto_front(rows: Sequence[Row], cost: Callable[[Row], float]) -> list[Row]:
    """Return the rows that no other row dominates, by increasing cost.

    A row dominates another if neither its cost is higher nor its mIoU lower, and one of them is better. Rows that are
    equal in both are on the front together.
    """
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (cost(row), -row.miou.value)):
        best = front[-1] if front else None
        equal = best is not None and (cost(best), best.miou.value) == (cost(row), row.miou.value)
        if best is None or equal or row.miou.value > best.miou.value:
            front.append(row)
    return front


def best_within(rows: Sequence[Row], ms: float | None = None, size: int | None = None) -> Row | None:
    """Return the row with the highest mIoU within `ms` milliseconds and `size` bytes; None if none is within them.

    Of equal ones the faster, then the smaller one is returned.
    """
    within = [row for row in rows if (ms is None or row.time <= ms) and (size is None or row.bytes <= size)]
    return max(within, key=lambda row: (row.miou.value, -row.time, -row.bytes), default=None)


def answer(frontier: Frontier, ms: float | None, size: int | None) -> str:
    """Return in one line which file to take for a budget of milliseconds, of bytes, or of both."""
    rows = frontier.rows
    limits = ["" if ms is None else f"{ms:g} ms", "" if size is None else f"{size:,} bytes"]
    budget, row = " and ".join(filter(None, limits)), best_within(rows, ms, size)
    if row is not None:
        return (
            f"For {budget}: {row.name}, mIoU {percent(row.miou.value)} {_interval(row.miou)}, "
            f"{row.time:.1f} ms with {threads_text(row.threads)}, {row.bytes:,} bytes"
        )
    fastest, smallest = min(rows, key=lambda row: row.time), min(rows, key=lambda row: row.bytes)
    return (
        f"For {budget}: no file; the fastest takes {fastest.time:.1f} ms ({fastest.name}), the smallest has "
        f"{smallest.bytes:,} bytes ({smallest.name})"
    )


def columns(frontier: Frontier) -> list[str]:
    """Return the heading of each column."""
    times = [f"ms, {threads_text(n)}" for n in frontier.rows[0].milliseconds]
    return ["file", "front", f"mIoU [{LEVEL:.0%}]", "difference", *times, "bytes", "input", "output"]


def cells(frontier: Frontier) -> list[list[str]]:
    """Return the text of the table: for each row one text per column."""
    fronts = {"ms": frontier.front_of_time, "bytes": frontier.front_of_bytes}
    result = []
    for row in frontier.rows:
        times = [f"{ms:.1f} ({row.speed[n]:.2f}x)" for n, ms in row.milliseconds.items()]
        difference = "reference" if row.difference is None else difference_text(row.difference)
        front = ", ".join(cost for cost, members in fronts.items() if row in members)
        miou = f"{percent(row.miou.value)} {_interval(row.miou)}"
        result.append([row.name, front, miou, difference, *times, f"{row.bytes:,}", row.input, row.output])
    return result


def markdown(frontier: Frontier) -> str:
    """Return the table as Markdown; file names are escaped."""
    heading = columns(frontier)
    rows = [[markdown_text(name), *others] for name, *others in cells(frontier)]
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def frontier_mapping(frontier: Frontier, answers: Sequence[str]) -> dict[str, Any]:
    """Return the content of frontier.json as JSON-ready values; mIoU is 0..1."""
    time, size = frontier.front_of_time, frontier.front_of_bytes
    rows = [{**to_mapping(row), "front_of_time": row in time, "front_of_bytes": row in size} for row in frontier.rows]
    return {**to_mapping(frontier), "answers": list(answers), "rows": rows}


def page(frontier: Frontier, answers: Sequence[str]) -> str:
    """Return the page as HTML."""
    rows, threads = frontier.rows, threads_text(frontier.rows[0].threads)
    return render_page(
        "frontier.html",
        Path(__file__).parent,
        subject=frontier.data,
        columns=columns(frontier),
        table=cells(frontier),
        significant=[row.difference is not None and row.difference.excludes_zero for row in rows],
        notes=[frontier.conditions, *frontier.notes],
        answers=answers,
        level=f"{LEVEL:.0%}",
        reference=frontier.reference,
        charts={
            f"mIoU against ms, {threads}": _chart(
                frontier, lambda row: row.time, f"ms, {threads}", frontier.front_of_time
            ),
            "mIoU against bytes": _chart(frontier, lambda row: row.bytes, "bytes", frontier.front_of_bytes),
        },
        difference_chart=_difference_chart(frontier, f"ms, {threads}"),
    )


def _chart(frontier: Frontier, cost: Callable[[Row], float], label: str, front: Sequence[Row]) -> Markup:
    points = [
        charts.Point(number, cost(row), *_percents(row.miou), f"{row.name}: {percent(row.miou.value)}")
        for number, row in enumerate(frontier.rows, 1)
    ]
    return charts.scatter(points, label, "mIoU", [frontier.rows.index(row) + 1 for row in front])


def _difference_chart(frontier: Frontier, label: str) -> Markup:
    """Draw the paired differences, whose intervals are narrower than those of mIoU; empty for a single file."""
    points = [
        charts.Point(number, row.time, *_percents(row.difference), f"{row.name}: {difference_text(row.difference)}")
        for number, row in enumerate(frontier.rows, 1)
        if row.difference is not None
    ]
    return charts.scatter(points, label, "difference of mIoU")


def _percents(interval: Interval) -> tuple[float, float, float]:
    return 100 * interval.value, 100 * interval.low, 100 * interval.high


def _interval(interval: Interval) -> str:
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def threads_text(count: int) -> str:
    """Return a number of threads in words."""
    return f"{count} thread{'s' * (count != 1)}"


def relative_speed(reference: np.ndarray, times: np.ndarray) -> float:
    """Return how many times as fast a file is as the reference, the median over rounds, from their ms `[rounds]`."""
    return float(np.median(reference / times))
