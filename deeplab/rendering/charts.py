"""Charts as inline SVG, drawn by matplotlib.

Their colors are CSS variables of the page, which has a light and a dark scheme: matplotlib draws each variable as a
placeholder color, `_svg` replaces these.
"""

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

WIDTH = 360
"""Width of every chart in SVG units, which are pixels on a phone; text is 11 units high."""

_NAME_WIDTH = 98
_ROW_COLORS = 8
_VARIABLES = ("muted", "line", "text", "correct", "wrong", *(f"c{i}" for i in range(_ROW_COLORS)))
_PLACEHOLDERS = {name: f"#{i:06x}" for i, name in enumerate(_VARIABLES, 1)}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "text.color": _PLACEHOLDERS["muted"],
    "axes.edgecolor": _PLACEHOLDERS["line"],
    "axes.labelcolor": _PLACEHOLDERS["muted"],
    "axes.axisbelow": True,
    "xtick.labelcolor": _PLACEHOLDERS["muted"],
    "ytick.labelcolor": _PLACEHOLDERS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": _PLACEHOLDERS["line"],
}
_NUMBER_STYLE: Any = {"textcoords": "offset points", "color": _PLACEHOLDERS["text"], "fontweight": "bold"}
_TITLE = "title:"  # Starts the ids of groups that become tooltips.


@dataclass(frozen=True)
class Point:
    """A row of the table in a chart of accuracy against cost.

    The number of the row, from 1, selects the color. The cost is above 0; `low` and `high` are the ends of the interval
    of `value`; `title` is the tooltip.
    """

    number: int
    cost: float
    value: float
    low: float
    high: float
    title: str


def row_color(number: int) -> str:
    """Return the CSS color of row `number`, from 1."""
    return f"var(--c{(number - 1) % _ROW_COLORS})"


def scatter(points: Sequence[Point], x_label: str, y_label: str, front: Sequence[int] = ()) -> Markup:
    """Draw accuracy with its interval against cost on a logarithmic axis; empty without points.

    `front` are the numbers of the points on a Pareto front, by increasing cost: a line of steps connects them, and the
    other points are hollow.
    """
    if not points:
        return Markup()
    with mpl.rc_context(_SETTINGS):
        figure, axes = _value_chart(x_label, y_label, x_scale="log")
        if front:
            by_number = {point.number: (point.cost, point.value) for point in points}
            steps = zip(*(by_number[number] for number in front), strict=True)
            axes.plot(*steps, drawstyle="steps-post", color=_PLACEHOLDERS["muted"], linewidth=1)
        for point in points:
            color = _placeholder(point.number)
            style: Any = {"color": color, "gid": f"{_TITLE}{point.title}"}
            axes.plot([point.cost] * 2, [point.low, point.high], linewidth=1.2, alpha=0.6, **style)
            fill = color if not front or point.number in front else "none"
            axes.plot([point.cost], [point.value], marker="o", markersize=8, markerfacecolor=fill, **style)
        low, high = min(point.cost for point in points), max(point.cost for point in points)
        margin = max((high / low) ** 0.08, 1.12)
        axes.set_xlim(low / margin, high * margin)
        # About three to seven ticks at any range.
        ticks = LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)) if high >= 10 * low else _round_ticks()
        axes.xaxis.set_major_locator(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
        _number_points(axes, points, front)
        return _svg(figure, repr((points, front)))


def curves(lines: Sequence[tuple[int, Sequence[tuple[float, float]]]], x_label: str, y_label: str) -> Markup:
    """Draw lines through (x, y) points, each with the number of its row; NaN is skipped; empty without points."""
    finite = [(number, [(x, y) for x, y in points if not math.isnan(y)]) for number, points in lines]
    if not any(points for _, points in finite):
        return Markup()
    with mpl.rc_context(_SETTINGS):
        figure, axes = _value_chart(x_label, y_label)
        for number, points in finite:
            color, style = _placeholder(number), "--" if number > _ROW_COLORS else "-"
            axes.plot(*zip(*points, strict=True), style, color=color, linewidth=2, marker="o", markersize=3)
        # A single point at 0 has no range.
        axes.set_xlim(0, None if any(x > 0 for _, points in finite for x, _ in points) else 1)
        axes.xaxis.set_major_locator(_round_ticks())
        return _svg(figure, repr(lines))


def sparkline(points: Sequence[tuple[float, float]], end: float) -> Markup:
    """Draw a small line without axes through (x, y) points, x from 0 to `end` and y from 0 to 1, and a dot at its end.

    NaN is skipped; empty without points.
    """
    placed = [(4 + 112 * x / end, 36 - 32 * y) for x, y in points if not math.isnan(y)]
    if not placed:
        return Markup()
    line, (x, y) = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed), placed[-1]
    return Markup(
        '<svg viewBox="0 0 120 40" role="img"><path d="M4 36.5H116M4 3.5H116" style="stroke: var(--line)"/>'
        f'<polyline points="{line}" style="fill: none; stroke: var(--c0); stroke-width: 2"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill: var(--c0)"/></svg>'
    )


def bars(names: Sequence[str], values: Sequence[tuple[int, Sequence[float]]]) -> Markup:
    """Draw groups of horizontal bars; the maximum of each group is printed at its right.

    `values` are, for each row, its number and the value (0..1) of each group; NaN leaves the bar out.
    """
    thickness = 5 if len(values) > 2 else 7
    group = thickness * len(values) + max(7, 15 - thickness * len(values))
    with mpl.rc_context(_SETTINGS):
        figure, axes = _class_chart(WIDTH - _NAME_WIDTH - 36, group * len(names) + 2, above=2, below=20)
        for j, (number, row) in enumerate(values):
            for i, value in enumerate(row):
                if not math.isnan(value):
                    top = i + (j - len(values) / 2) * thickness / group
                    title = f"{_TITLE}{names[i]}, row {number}: {value:.2%}"
                    style: Any = {"color": _placeholder(number), "linewidth": 0, "gid": title}
                    axes.add_patch(Rectangle((0, top), 100 * value, (thickness - 1) / group, **style))
        for i, name_values in enumerate(zip(*(row for _, row in values), strict=True)):
            known = [value for value in name_values if not math.isnan(value)]
            text = f"{100 * max(known):.1f}" if known else "–"
            axes.text(1, i, f" {text}", transform=axes.get_yaxis_transform(), va="center")
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xticks=(0, 25, 50, 75, 100))
        axes.set_yticks(range(len(names)), [_cut(name, 15) for name in names])
        axes.spines[:].set_visible(False)
        axes.grid(axis="x")
        return _svg(figure, repr((names, values)))


def confusion_matrix(matrix: np.ndarray, names: Sequence[str]) -> Markup:
    """Draw the share of each predicted class (column) in the pixels of each labeled class (row).

    `matrix` is `[classes, classes]`, in pixels. More than 40 class names are left out.
    """
    classes, side = len(names), WIDTH - _NAME_WIDTH - 2
    cell = side / classes
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with mpl.rc_context(_SETTINGS):
        figure, axes = _class_chart(side, side, above=18, below=2)
        # Shares below 0.05 % are left out; the square root makes small ones visible.
        for i, j in np.argwhere(shares >= 0.0005):
            color, share = _PLACEHOLDERS["correct" if i == j else "wrong"], shares[i, j]
            title = f"{_TITLE}{names[i]} predicted as {names[j]}: {share:.1%}"
            axes.add_patch(Rectangle((j, i), 1, 1, color=color, alpha=math.sqrt(share), linewidth=0, gid=title))
        axes.set(xlim=(0, classes), ylim=(classes, 0), xticks=(), yticks=())
        if classes <= 40:
            size = min(10.0, max(cell, 4.0))
            middles = [i + 0.5 for i in range(classes)]
            axes.set_yticks(middles, [f"{_cut(name, 12)} {i}" for i, name in enumerate(names)], fontsize=size)
            step = 1 if cell >= 16 else 2
            axes.set_xticks(middles[::step], [str(i) for i in range(0, classes, step)], fontsize=size)
            axes.xaxis.tick_top()
        return _svg(figure, repr((names, matrix.tolist())))


def _value_chart(x_label: str, y_label: str, x_scale: str = "linear") -> tuple[Figure, Axes]:
    """Create a chart with a grid, the name of the vertical axis above it and that of the horizontal one below."""
    figure = Figure((WIDTH / 72, 240 / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(y_label, loc="left", fontsize=11)
    axes.set_xlabel(x_label, loc="right")
    axes.set_xscale(x_scale)
    axes.spines[:].set_visible(False)
    axes.margins(y=0.08)
    axes.grid()
    axes.yaxis.set_major_locator(_round_ticks())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_short)
    return figure, axes


def _number_points(axes: Axes, points: Sequence[Point], front: Sequence[int]) -> None:
    """Write the number of each point next to it, where neither a point nor another number is.

    Without a free place the number of a point off the `front` is left out; the tooltip names the point.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # Places the axes.
    centers = axes.transData.transform([(point.cost, point.value) for point in points]) * 72 / figure.dpi
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in centers.tolist()]
    numbered = sorted(zip(points, centers.tolist(), strict=True), key=lambda pair: pair[0].number not in front)
    for point, (x, y) in numbered:
        width, height = 7 * len(str(point.number)), 9
        right, left, above, below = 5, -5 - width, 4, -4 - height
        places = [
            (right, above),
            (left, above),
            (right, below),
            (left, below),
            (-width / 2, 7),
            (-width / 2, -7 - height),
        ]
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + height) for dx, dy in places]
        free = next((i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)), None)
        if free is None and front and point.number not in front:
            continue
        axes.annotate(str(point.number), (point.cost, point.value), places[free or 0], **_NUMBER_STYLE)
        taken.append(boxes[free or 0])


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Return whether two boxes (left, bottom, right, top) overlap."""
    return all(first[i] < second[i + 2] and second[i] < first[i + 2] for i in (0, 1))


def _class_chart(width: float, height: float, above: float, below: float) -> tuple[Figure, Axes]:
    """Create a chart of `width` times `height` units with class names at its left and space above and below it."""
    total = above + height + below
    figure = Figure((WIDTH / 72, total / 72))
    return figure, figure.add_axes((_NAME_WIDTH / WIDTH, below / total, width / WIDTH, height / total))


def _placeholder(number: int) -> str:
    return _PLACEHOLDERS[f"c{(number - 1) % _ROW_COLORS}"]


def _round_ticks() -> MaxNLocator:
    """Choose three to seven ticks in steps of 1, 2 or 5 times a power of ten."""
    return MaxNLocator(6, steps=(1, 2, 5, 10))


def _short(value: float, _: float) -> str:
    """Format 2000000000 as "2B"; the second argument is the position of the tick."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _svg(figure: Figure, salt: str) -> Markup:
    """Return a figure as an SVG element without fixed size, namespaces and date; equal charts give equal bytes.

    `salt` is the content of the chart: charts of different content on one page have different ids.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        # The browser draws the text, and has glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    svg = buffer.getvalue()
    svg = re.sub(r"\n\s*", " ", svg[svg.index("<svg") :])
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 role="img">', svg, count=1)
    # The page's style sheet sets the font and the joins of all charts.
    svg = re.sub(r"<defs> <style.*?</defs> ", "", svg, count=1)
    svg = re.sub(r"font-family: [^;<]*; ", "", svg)
    svg = re.sub(rf"""<g id=(["']){_TITLE}(.*?)\1>""", r"<g><title>\2</title>", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    for name, color in _PLACEHOLDERS.items():
        svg = svg.replace(f": {color}", f": var(--{name})")
    return Markup(svg)
