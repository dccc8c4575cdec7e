"""evaluation.html: the table of an evaluation with charts and sample images, in one file that needs no network."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from deeplab.evaluation.bootstrap import LEVEL
from deeplab.evaluation.confusion import iou_of_counts, mean_of_occurring
from deeplab.evaluation.table import COLUMNS, Difference, Row, cells, difference_text, percent
from deeplab.rendering import charts
from deeplab.rendering.html import render_page


def image_mious(row: Row) -> np.ndarray:
    """Return the mIoU `[images]` of each image alone, over the classes that occur in it; NaN without labeled pixels."""
    return mean_of_occurring(iou_of_counts(row.scores.counts))


def extremes(row: Row, count: int) -> tuple[list[int], list[int]]:
    """Return the indices of the `count` worst and best images, the most extreme first; no image is in both lists."""
    mious = image_mious(row)
    order = [int(i) for i in np.argsort(mious, kind="stable") if not np.isnan(mious[i])]
    count = min(count, len(order) // 2)
    return order[:count], order[::-1][:count]


def best_row(rows: Sequence[Row]) -> int:
    """Return the index of the best row among those with the maximum number of images, by mIoU of labeled classes."""
    max_images = max(len(row.scores.names) for row in rows)
    candidates = [i for i, row in enumerate(rows) if len(row.scores.names) == max_images]
    return max(candidates, key=lambda i: rows[i].scores.labeled_miou)


def evaluation_page(
    title: str,
    rows: Sequence[Row],
    differences: Sequence[Difference],
    notes: Sequence[str],
    worst: Sequence[dict[str, Any]] = (),
    best: Sequence[dict[str, Any]] = (),
) -> str:
    """Return the page as HTML.

    `title` names the data, `notes` are the sentences below the table, and `worst` and `best` are images of the row
    `best_row(rows)`, each from `image_triple`.
    """
    table = cells(rows, differences)
    filled = [i for i in range(len(COLUMNS)) if any(row[i] for row in table)]
    best_index = best_row(rows)
    best_scores = rows[best_index].scores
    borders = {i: row.scores.borders for i, row in enumerate(rows, 1) if row.scores.borders}
    trimaps = [(i, [(float(w), 100 * miou) for w, miou in b.trimap_mious.items()]) for i, b in borders.items()]
    return render_page(
        "evaluation.html",
        subject=title,
        columns=[COLUMNS[i] for i in filled],
        table=[[row[i] for i in filled] for row in table],
        notes=notes,
        level=f"{LEVEL:.0%}",
        names={i: row.name for i, row in enumerate(rows, 1)},
        cost_charts={
            "multiply-adds": _cost_chart(rows, lambda row: row.multiply_adds, "multiply-adds"),
            "time": _cost_chart(rows, lambda row: row.milliseconds, "ms per image"),
        },
        differences=_difference_table(rows, differences),
        class_charts=_class_charts(rows),
        border_chart=charts.curves(trimaps, "pixels from the border (trimap width)", "mIoU"),
        boundary_ious={i: percent(b.boundary_iou) for i, b in borders.items()},
        best_number=best_index + 1,
        confusion_chart=charts.confusion_matrix(best_scores.matrix, best_scores.classes),
        samples={"Worst": worst, "Best": best},
    )


def _cost_chart(rows: Sequence[Row], cost: Callable[[Row], float], label: str) -> Markup:
    """Draw mIoU against a cost; rows whose cost is unknown (0) are left out."""
    points = []
    for number, row in enumerate(rows, 1):
        miou = row.scores.miou
        low, high = (row.interval.low, row.interval.high) if row.interval else (miou, miou)
        if cost(row) > 0:
            title = f"{row.name}: {percent(miou)}"
            points.append(charts.Point(number, cost(row), 100 * miou, 100 * low, 100 * high, title))
    return charts.scatter(points, label, "mIoU")


def _difference_table(rows: Sequence[Row], differences: Sequence[Difference]) -> dict[int, list[dict[str, str] | None]]:
    """Return the cells of the triangular table of differences, by row number; None where there is no difference."""
    styles = {True: "significant", False: "insignificant"}
    by_pair = {
        (d.row, d.minus): {"text": difference_text(d.interval), "style": styles[d.interval.excludes_zero]}
        for d in differences
    }
    others = range(len(rows) - 1)
    return {i + 1: [by_pair.get((i, j)) for j in others] for i in range(1, len(rows))} if by_pair else {}


def _class_charts(rows: Sequence[Row]) -> list[tuple[dict[int, str], Markup]]:
    """Draw the IoU of each class, one chart per run; returns the row names by number with each chart."""
    result = []
    for run in dict.fromkeys(row.candidate.run for row in rows):
        of_run = {i: row for i, row in enumerate(rows, 1) if row.candidate.run == run}
        classes = next(iter(of_run.values())).scores.classes
        chart = charts.bars(classes, [(i, row.scores.iou.tolist()) for i, row in of_run.items()])
        result.append(({i: row.name for i, row in of_run.items()}, chart))
    return result
