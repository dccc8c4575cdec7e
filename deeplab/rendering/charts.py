"""Charts of an evaluation as SVG, drawn for a screen 360 pixels wide, in the colors of the page's scheme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 20, 34


@dataclass(frozen=True)
class Point:
    """One row of the table in a chart of accuracy against cost.

    Attributes:
        number: of the row, from 1; also chooses the color.
        cost: what it costs, > 0.
        value: its accuracy.
        low, high: ends of the interval of `value`.
        title: shown when pointed at.
    """

    number: int
    cost: float
    value: float
    low: float
    high: float
    title: str


def color(number: int) -> str:
    """The page's color of row `number`, from 1."""
    return f"var(--c{(number - 1) % 8})"


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Accuracy against cost on a logarithmic axis, with intervals."""
    if not points:
        return ""
    costs, height = [point.cost for point in points], 240
    low, high = math.log10(min(costs)), math.log10(max(costs))
    margin = max(0.08 * (high - low), 0.05)
    x = _Axis(low - margin, high + margin, _LEFT, WIDTH - _RIGHT)
    y = _value_axis([p.low for p in points] + [p.high for p in points], height)
    parts = [_grid(y), *(_tick(x(math.log10(c)), height, _short(c)) for c in _log_ticks(10**x.low, 10**x.high))]
    for p in points:
        at, mid = x(math.log10(p.cost)), y(p.value)
        parts.append(
            f'<g fill="{color(p.number)}" stroke="{color(p.number)}"><title>{escape(p.title)}</title>'
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(p.low):.1f}" y2="{y(p.high):.1f}" opacity=".6"/>'
            f'<circle cx="{at:.1f}" cy="{mid:.1f}" r="4"/></g>'
            f'<text class="number" x="{at + 6:.1f}" y="{mid - 5:.1f}">{p.number}</text>'
        )
    return _svg(height, parts, x_label, y_label)


def curves(
    lines: Sequence[tuple[int, Sequence[tuple[float, float]]]], x_label: str, y_label: str, air: float = 0.5
) -> str:
    """Lines through (x, y), each with the number of its row; `air` is the least space above and below, in y."""
    lines = [(number, [p for p in line if not math.isnan(p[1])]) for number, line in lines]
    points = [point for _, line in lines for point in line]
    if not points:
        return ""
    height = 240
    x = _Axis(0, max(p[0] for p in points), _LEFT, WIDTH - _RIGHT)
    y = _value_axis([p[1] for p in points], height, air)
    parts = [_grid(y), *(_tick(x(at), height, f"{at:g}") for at in _ticks(x.low, x.high))]
    for number, line in lines:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
        dash = ' stroke-dasharray="5 3"' if number > 8 else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color(number)}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2" fill="{color(number)}"/>' for a, b in line]
    return _svg(height, parts, x_label, y_label)


def bars(names: Sequence[str], values: Sequence[tuple[int, Sequence[float]]]) -> str:
    """Groups of horizontal bars, one group a name; a value that is NaN leaves its bar out.

    Args:
        names: of the groups.
        values: for each row its number and the values of the groups, 0..1.
    """
    left, thick = 96, 5 if len(values) > 2 else 7
    gap = max(7, 15 - thick * len(values))
    group = thick * len(values) + gap
    parts, x = [], _Axis(0, 1, left, WIDTH - 34)
    height = group * len(names) + 22
    for at in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height - 18}"/>')
        parts.append(f'<text x="{x(at):.1f}" y="{height - 5}" text-anchor="middle">{100 * at:g}</text>')
    for i, name in enumerate(names):
        top = i * group + gap / 2
        middle = top + thick * len(values) / 2 + 4
        parts.append(f'<text x="{left - 5}" y="{middle:.1f}" text-anchor="end">{escape(_cut(name, 15))}</text>')
        for j, (number, row) in enumerate(values):
            if not math.isnan(row[i]):
                parts.append(
                    f'<rect x="{left}" y="{top + j * thick:.1f}" width="{x(row[i]) - left:.1f}" height="{thick - 1}" '
                    f'fill="{color(number)}"><title>{escape(name)}, row {number}: {row[i]:.2%}</title></rect>'
                )
        best = max((row[i] for _, row in values if not math.isnan(row[i])), default=math.nan)
        label = "–" if math.isnan(best) else f"{100 * best:.1f}"
        parts.append(f'<text x="{WIDTH - 2}" y="{middle:.1f}" text-anchor="end">{label}</text>')
    return _frame(height, parts)


def confusion_picture(matrix: np.ndarray, names: Sequence[str]) -> str:
    """The confusion matrix, each row (truth) shared out over the classes predicted; stronger color, larger share."""
    classes = len(names)
    left, top = 96, 18
    cell = (WIDTH - left - 2) / classes
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = min(10.0, max(cell, 4.0))
    parts = []
    for i, name in enumerate(names):
        y = top + i * cell
        if classes <= 40:
            parts.append(
                f'<text x="{left - 4}" y="{y + 0.5 * cell + 3:.1f}" text-anchor="end" style="font-size:{size:.1f}px">'
                f"{escape(_cut(name, 14))} {i}</text>"
                f'<text x="{left + (i + 0.5) * cell:.1f}" y="{top - 5}" text-anchor="middle" '
                f'style="font-size:{min(size, 0.75 * cell):.1f}px">{i}</text>'
            )
        for j in range(classes):
            share = float(shares[i, j])
            if share < 0.0005:
                continue
            # The square root lifts small confusions out of the ground.
            kind = "right" if i == j else "wrong"
            parts.append(
                f'<rect class="{kind}" x="{left + j * cell:.2f}" y="{y:.2f}" width="{cell:.2f}" height="{cell:.2f}" '
                f'opacity="{math.sqrt(share):.2f}"><title>{escape(name)} taken for {escape(names[j])}: {share:.1%}'
                "</title></rect>"
            )
    height = top + cell * classes + 2
    side = cell * classes
    parts.append(f'<rect class="outline" x="{left}" y="{top}" width="{side:.1f}" height="{side:.1f}"/>')
    return _frame(height, parts)


@dataclass(frozen=True)
class _Axis:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.stop - self.start)


def _value_axis(values: Sequence[float], height: float, least_air: float = 0.5) -> _Axis:
    """The upright axis around `values`, with some air."""
    air = max(0.08 * (max(values) - min(values)), least_air)
    return _Axis(min(values) - air, max(values) + air, height - _BOTTOM, _TOP)


def _grid(y: _Axis) -> str:
    """Level lines and their numbers."""
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>'
        f'<text x="{_LEFT - 4}" y="{y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
        for at in _ticks(y.low, y.high)
    )


def _tick(x: float, height: float, text: str) -> str:
    """A number below the lower axis."""
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
        f'<text x="{x:.1f}" y="{height - _BOTTOM + 13}" text-anchor="middle">{text}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers in low..high."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten in low..high, thinned where there are many; other round numbers where few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [s * 10.0**p for p in powers for s in (1, 2, 5) if low <= s * 10.0**p <= high]
    if len(found) < 3:
        return _ticks(low, high)
    return found if len(found) <= 7 else [10.0**p for p in powers if low <= 10.0**p <= high]


def _short(value: float) -> str:
    """2000000000 as "2B"."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _svg(height: float, parts: Sequence[str], x_label: str, y_label: str) -> str:
    """A chart with both axes named."""
    axes = (
        f'<text x="{WIDTH - _RIGHT}" y="{height - 5}" text-anchor="end">{escape(x_label)}</text>'
        f'<text x="2" y="10">{escape(y_label)}</text>'
    )
    return _frame(height, [*parts, axes])


def _frame(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'
