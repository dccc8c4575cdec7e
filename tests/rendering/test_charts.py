"""Charts are well-formed SVG whose marks are at the positions that the numbers require."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from deeplab.rendering.charts import Point, bars, confusion_matrix, curves, row_color, scatter


def parsed(svg: str) -> ET.Element:
    """Parse a chart and check that it can be placed in a page: 360 wide, without namespaces, all ids used."""
    root = ET.fromstring(svg)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    assert width == 360
    assert "//" not in svg
    assert "#0000" not in svg
    for text in root.iter("text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height
    ids = [mark.attrib["id"] for mark in root.iter() if "id" in mark.attrib]
    assert len(set(ids)) == len(ids)
    assert all(f"#{each}" in svg for each in ids)
    return root


def texts(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


def circles(root: ET.Element, color: str) -> list[tuple[float, float]]:
    uses = [use for use in root.iter("use") if f"fill: {color}" in use.attrib["style"]]
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses]


def boxes(group: ET.Element) -> list[tuple[float, float, float, float]]:
    """Return left, top, width and height of the paths in a group."""
    found = []
    for path in group.iter("path"):
        xy = np.array(re.findall(r"[-\d.]+", path.attrib["d"]), float).reshape(-1, 2)
        found.append((*xy.min(0).tolist(), *np.ptp(xy, 0).tolist()))
    return found


def titled(root: ET.Element) -> dict[str, ET.Element]:
    return {title.text or "": group for group in root.iter("g") if (title := group.find("title")) is not None}


def test_scatter_has_a_logarithmic_cost_axis_and_higher_accuracy_is_higher():
    costs = [(1, 1e8, 50.0), (2, 1e9, 60.0), (3, 1e10, 70.0)]
    names = ["<1> & 2", """both " and '""", 'only "']
    points = [Point(i, c, v, v - 2, v + 2, n) for (i, c, v), n in zip(costs, names, strict=True)]
    root = parsed(scatter(points, "multiply-adds", "mIoU"))
    (x1, y1), (x2, y2), (x3, y3) = (circles(root, row_color(i))[0] for i in (1, 2, 3))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.01)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.01)
    assert x1 < x2 < x3
    assert y1 > y2 > y3
    assert list(titled(root)) == names
    # The interval of a row is four points high; ten points are between two rows.
    (_, top, _, height) = boxes(next(group for group in root.iter("g") if group.findtext("title") == names[0]))[0]
    assert height == pytest.approx(0.4 * (y1 - y2), abs=0.01)
    assert top + height / 2 == pytest.approx(y1, abs=0.01)
    assert {"multiply-adds", "mIoU", "100M", "1B", "10B", "1", "2", "3"} <= set(texts(root))


def test_the_front_is_a_line_of_steps_and_other_points_are_hollow():
    points = [Point(i, cost, v, v, v, str(i)) for i, cost, v in ((1, 1, 50), (2, 2, 40), (3, 10, 70))]
    root = parsed(scatter(points, "ms", "mIoU", front=[1, 3]))
    (x1, y1), (x3, y3) = (circles(root, row_color(i))[0] for i in (1, 3))
    assert circles(root, row_color(2)) == []
    assert sum(f"stroke: {row_color(2)}" in use.attrib["style"] for use in root.iter("use")) == 1
    lines = [path for path in root.iter("path") if "stroke: var(--muted)" in path.attrib.get("style", "")]
    (line,) = (np.array(re.findall(r"[-\d.]+", path.attrib["d"]), float).reshape(-1, 2) for path in lines)
    # To the right first: until the next file is within the budget, the previous one stays the best.
    np.testing.assert_allclose(line, [(x1, y1), (x3, y1), (x3, y3)], atol=0.01)


def test_numbers_of_close_points_do_not_overlap_and_the_front_comes_first():
    close = [Point(i, 10 + 0.01 * i, 50, 50, 50, str(i)) for i in range(1, 10)]
    far = [Point(10, 20, 60, 60, 60, "10"), Point(11, 1, 40, 40, 40, "11")]
    root = parsed(scatter([*close, *far], "ms", "mIoU", front=[11, 9, 10]))
    numbers = [t for t in root.iter("text") if "font-weight: 700" in t.attrib["style"]]
    assert {"9", "10", "11"} < {t.text for t in numbers}
    assert len(numbers) < 11
    places = [(float(t.attrib["x"]), float(t.attrib["y"]), 7 * len(t.text or "")) for t in numbers]
    for (x1, y1, width1), (x2, y2, width2) in itertools.combinations(places, 2):
        assert x1 + width1 <= x2 or x2 + width2 <= x1 or abs(y1 - y2) >= 9
    # Without a front every point has its number.
    root = parsed(scatter([*close, *far], "ms", "mIoU"))
    assert sum("font-weight: 700" in t.attrib["style"] for t in root.iter("text")) == 11


@pytest.mark.parametrize("costs", [(33.3,), (14, 18), (3, 25), (5, 400), (1e8, 1e12)])
def test_scatter_labels_its_cost_axis_at_any_range(costs):
    root = parsed(scatter([Point(1, cost, 50, 50, 50, "one") for cost in costs], "ms", "mIoU"))
    bottom = [t for t in root.iter("text") if t.attrib["style"].count("middle") and "rotate(-0" in str(t.attrib)]
    assert 2 <= len(bottom) <= 8
    assert all(a != b for a, b in itertools.combinations([t.text for t in bottom], 2))


def test_charts_without_points_are_empty():
    assert scatter([], "ms", "mIoU") == ""
    assert curves([(1, [(1, math.nan)])], "pixels", "mIoU") == ""


def test_curves_pass_through_their_points_and_skip_nan():
    root = parsed(curves([(1, [(1, 40), (20, 60), (40, 65)]), (9, [(1, math.nan), (40, 50)])], "pixels", "mIoU"))
    marks = circles(root, "var(--c0)")
    assert len(marks) == 4
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = marks
    # Linear axes: 19 and 20 pixels, 20 and 5 points apart; the point of row 9 is at x = 40.
    assert (x3 - x2) / (x2 - x1) == pytest.approx(20 / 19, abs=1e-3)
    assert (y2 - y3) / (y1 - y2) == pytest.approx(5 / 20, abs=1e-3)
    assert (x4, y1 - y4) == pytest.approx((x3, (y1 - y2) / 2), abs=0.01)
    assert "stroke-dasharray" in curves([(9, [(1, 40), (40, 50)])], "pixels", "mIoU")
    assert "stroke-dasharray" not in curves([(1, [(1, 40), (40, 50)])], "pixels", "mIoU")


@pytest.mark.parametrize("value", [0.0, 0.007, 80.0])
def test_a_constant_curve_can_be_drawn(value):
    root = parsed(curves([(1, [(1, value), (2, value)])], "step", "learning rate"))
    assert len(circles(root, "var(--c0)")) == 2
    assert f"{value:g}" in texts(root)


def test_bars_are_as_long_as_their_values_and_nan_has_no_bar(recwarn: pytest.WarningsRecorder):
    root = parsed(bars(["cat & dog", "$never$ 猫"], [(1, [0.5, math.nan]), (2, [1.0, math.nan])]))
    groups = titled(root)
    assert list(groups) == ["cat & dog, row 1: 50.00%", "cat & dog, row 2: 100.00%"]
    (first,), (second,) = (boxes(group) for group in groups.values())
    assert second[2] == pytest.approx(2 * first[2], abs=0.01)
    assert second[1] == pytest.approx(first[1] + 7, abs=0.5)
    assert {"cat & dog", "$never$ 猫"} <= set(texts(root))
    assert [text.strip() for text in texts(root)[-2:]] == ["100.0", "–"]
    # No warning that matplotlib's font lacks a glyph.
    assert not recwarn.list


def test_confusion_matrix_shows_the_shares_of_each_row():
    root = parsed(confusion_matrix(np.array([[75, 25], [0, 10]]), ["<a>", "b"]))
    groups = titled(root)
    assert list(groups) == ["<a> predicted as <a>: 75.0%", "<a> predicted as b: 25.0%", "b predicted as b: 100.0%"]
    styles = [next(group.iter("path")).attrib["style"] for group in groups.values()]
    # The opacity is the square root of the share: 0.866, 0.5, 1.
    assert [re.findall(r"fill: var\(--(\w+)\)|opacity: ([\d.]+)", style) for style in styles] == [
        [("correct", ""), ("", "0.866025")],
        [("wrong", ""), ("", "0.5")],
        [("correct", "")],
    ]
    cells = [boxes(group)[0] for group in groups.values()]
    # The cells are squares: <a>/<a> at the top left, <a>/b at its right, b/b below that.
    assert cells[0][2] == pytest.approx(cells[0][3], abs=0.01)
    assert cells[1][:2] == pytest.approx((cells[0][0] + cells[0][2], cells[0][1]), abs=0.01)
    assert cells[2][:2] == pytest.approx((cells[1][0], cells[1][1] + cells[1][3]), abs=0.01)
    assert {"<a> 0", "b 1", "0", "1"} <= set(texts(root))


def test_confusion_matrix_of_many_classes_has_no_names():
    assert texts(parsed(confusion_matrix(np.eye(60, dtype=int), [f"c{i}" for i in range(60)]))) == []


def test_equal_charts_have_equal_bytes_and_different_charts_share_no_ids():
    one, again, other = (curves([(1, [(1, 2.0), (3, y)])], "x", "y") for y in (4.0, 4.0, 5.0))
    assert one == again
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_row_colors_repeat_after_eight():
    assert row_color(1) == row_color(9) == "var(--c0)"
    assert re.fullmatch(r"var\(--c[0-7]\)", row_color(4))
