"""Charts are well-formed SVG whose marks lie where the numbers say."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np

from deeplab.rendering.charts import Point, bars, color, confusion_picture, curves, scatter


def parsed(svg: str) -> ET.Element:
    root = ET.fromstring(svg)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    for mark in root.iter():
        for key, limit in (("cx", width), ("x1", width), ("cy", height), ("y1", height), ("y", height)):
            assert 0 <= float(mark.attrib.get(key, 0)) <= limit
    return root


def numbers(root: ET.Element, tag: str, key: str) -> list[float]:
    return [float(mark.attrib[key]) for mark in root.iter(tag)]


def test_scatter_is_logarithmic_and_higher_is_better():
    points = [
        Point(i, cost, value, value - 2, value + 2, f"<{i}>")
        for i, cost, value in [(1, 1e8, 50), (2, 1e9, 60), (3, 1e10, 70)]
    ]
    root = parsed(scatter(points, "multiply-adds", "mIoU"))
    x, y = numbers(root, "circle", "cx"), numbers(root, "circle", "cy")
    assert math.isclose(x[1] - x[0], x[2] - x[1], abs_tol=0.2)
    assert y[0] > y[1] > y[2]
    assert [t.text for t in root.iter("title")] == ["<1>", "<2>", "<3>"]
    texts = {t.text for t in root.iter("text")}
    assert {"multiply-adds", "mIoU", "100M", "1B", "10B"} <= texts


def test_scatter_of_one_point_and_of_none():
    parsed(scatter([Point(1, 33.3, 50, 50, 50, "one")], "ms", "mIoU"))
    assert scatter([], "ms", "mIoU") == ""


def test_curves_pass_through_their_points():
    root = parsed(curves([(1, [(1, 40), (20, 60), (40, 65)]), (9, [(1, math.nan), (40, 50)])], "pixels", "mIoU"))
    lines = list(root.iter("polyline"))
    first = [tuple(map(float, p.split(","))) for p in lines[0].attrib["points"].split()]
    assert first[0][0] < first[1][0] < first[2][0]
    assert first[0][1] > first[1][1] > first[2][1]
    assert len(lines[1].attrib["points"].split()) == 1
    assert "stroke-dasharray" in lines[1].attrib
    assert curves([(1, [(1, math.nan)])], "pixels", "mIoU") == ""


def test_bars_are_as_long_as_their_values_and_absent_classes_have_none():
    root = parsed(bars(["cat & dog", "never"], [(1, [0.5, math.nan]), (2, [1.0, math.nan])]))
    widths = numbers(root, "rect", "width")
    assert len(widths) == 2
    assert math.isclose(widths[1], 2 * widths[0], abs_tol=0.2)
    texts = [t.text for t in root.iter("text")]
    assert "cat & dog" in texts
    assert "100.0" in texts
    assert "–" in texts


def test_confusion_picture_shares_out_each_line():
    matrix = np.array([[75, 25], [0, 10]])
    root = parsed(confusion_picture(matrix, ["<a>", "b"]))
    cells = [r for r in root.iter("rect") if r.attrib["class"] != "outline"]
    assert [(c.attrib["class"], float(c.attrib["opacity"])) for c in cells] == [
        ("right", 0.87),
        ("wrong", 0.5),
        ("right", 1.0),
    ]
    assert next(cells[1].iter("title")).text == "<a> taken for b: 25.0%"


def test_confusion_picture_of_many_classes_has_no_names():
    root = parsed(confusion_picture(np.eye(60, dtype=int), [f"c{i}" for i in range(60)]))
    assert not list(root.iter("text"))


def test_colors_come_round():
    assert color(1) == color(9) == "var(--c0)"
    assert re.fullmatch(r"var\(--c[0-7]\)", color(4))
