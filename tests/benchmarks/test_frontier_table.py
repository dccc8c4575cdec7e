"""Pareto fronts, choices by budget and the table of the frontier, against cases solved by hand."""

import json

import numpy as np
import pytest

from benchmarks.frontier_table import (
    Frontier,
    Row,
    answer,
    best_within,
    cells,
    columns,
    frontier_mapping,
    markdown,
    page,
    pareto_front,
    relative_speed,
)
from deeplab.evaluation.bootstrap import Interval


def row(name: str, ms: float, miou: float, size: int = 1000, difference: Interval | None = None) -> Row:
    times, speed = {1: ms, 2: ms / 2}, {1: 2.0, 2: 3.0}
    shapes = ("uint8 65x65 padded", "uint8 17x17")
    return Row(
        name,
        f"{name}.tflite",
        "0" * 64,
        *shapes,
        size,
        Interval(miou, miou - 0.1, miou + 0.1),
        difference,
        times,
        speed,
    )


def front_of(*points: tuple[float, float]) -> list[str]:
    """Return the names of the front of (ms, mIoU) points, which are named by their position."""
    rows = [row(str(i), ms, miou) for i, (ms, miou) in enumerate(points)]
    return [each.name for each in pareto_front(rows, lambda each: each.time)]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(5, 0.6)], ["0"]),
        # Slower and worse, slower and better.
        ([(5, 0.6), (6, 0.5), (7, 0.7)], ["0", "2"]),
        # The order of the rows does not matter.
        ([(7, 0.7), (6, 0.5), (5, 0.6)], ["2", "0"]),
        # Equally fast: the better one dominates. Equally good: the faster one.
        ([(5, 0.6), (5, 0.7)], ["1"]),
        ([(6, 0.6), (5, 0.6)], ["1"]),
        # Equal in both: neither dominates the other.
        ([(5, 0.6), (5, 0.6), (9, 0.6)], ["0", "1"]),
        ([(3, 0.2), (5, 0.6), (5, 0.6), (6, 0.7)], ["0", "1", "2", "3"]),
    ],
)
def test_the_front_contains_what_no_other_file_dominates(points, front):
    assert front_of(*points) == front


def test_the_front_of_bytes_ignores_the_time():
    rows = (row("slow", 9, 0.6, 800), row("fast", 5, 0.6, 900), row("large", 6, 0.7, 1000))
    frontier = Frontier(rows, "slow", "val", "measured")
    assert [each.name for each in frontier.front_of_bytes] == ["slow", "large"]
    assert [each.name for each in frontier.front_of_time] == ["fast", "large"]


def test_a_budget_selects_the_best_file_within_both_limits():
    rows = [row("a", 5, 0.6, 900), row("b", 9.99, 0.7, 1000), row("c", 10, 0.8, 2000), row("d", 11, 0.9, 800)]

    def name(ms=None, size=None):
        best = best_within(rows, ms, size)
        return best and best.name

    assert [name(ms) for ms in (4.9, 5, 9.9, 10, 100)] == [None, "a", "a", "c", "d"]
    assert [name(None, size) for size in (799, 800, 2000)] == [None, "d", "d"]
    assert [name(10, 1999), name(10, 999), name(4, 9999)] == ["b", "a", None]


def test_of_equal_files_within_a_budget_the_faster_then_the_smaller_is_taken():
    rows = [row("a", 6, 0.7, 900), row("b", 5, 0.7, 1000), row("c", 5, 0.7, 950)]
    assert best_within(rows, 10).name == "c"
    assert best_within(rows[:2], 10).name == "b"


def test_the_answer_is_one_line():
    frontier = Frontier((row("a", 5.04, 0.65432), row("b", 12, 0.7, 900)), "a", "val", "measured")
    assert answer(frontier, 10, None) == "For 10 ms: a, mIoU 65.43 [55.43, 75.43], 5.0 ms with 1 thread, 1,000 bytes"
    both = answer(frontier, 12.5, 950)
    assert both == "For 12.5 ms and 950 bytes: b, mIoU 70.00 [60.00, 80.00], 12.0 ms with 1 thread, 900 bytes"
    none = answer(frontier, None, 899)
    assert none == "For 899 bytes: no file; the fastest takes 5.0 ms (a), the smallest has 900 bytes (b)"


@pytest.fixture
def frontier() -> Frontier:
    worse, unsure = Interval(-0.05, -0.06, -0.04), Interval(0.01, -0.01, 0.02)
    rows = (row("a_1", 5, 0.6, 900, worse), row("ref", 9, 0.65, 1_000_000), row("<c>", 10, 0.66, 2000, unsure))
    return Frontier(rows, "ref", "val, 8 images", "Milliseconds: measured.", ("mIoU is over 2 of 3 classes.",))


def test_the_table_has_a_row_for_each_file(frontier):
    assert columns(frontier)[:6] == ["file", "front", "mIoU [95%]", "difference", "ms, 1 thread", "ms, 2 threads"]
    speeds = ["5.0 (2.00x)", "2.5 (3.00x)"]
    first, reference, last = cells(frontier)
    miou, difference = "60.00 [50.00, 70.00]", "-5.00 [-6.00, -4.00]"
    assert first == ["a_1", "ms, bytes", miou, difference, *speeds, "900", "uint8 65x65 padded", "uint8 17x17"]
    assert (reference[1], reference[3], reference[6]) == ("ms", "reference", "1,000,000")
    assert (last[1], last[3]) == ("ms, bytes", "+1.00 [-1.00, +2.00]")
    lines = markdown(frontier).splitlines()
    assert len(lines) == 5
    assert {line.count("|") for line in lines} == {len(first) + 1}


def test_a_name_that_contains_a_bar_does_not_divide_its_cell():
    frontier = Frontier((row("a|b", 5, 0.6),), "a|b", "val", "measured")
    assert markdown(frontier).splitlines()[2].startswith("| a\\|b | ms, bytes | ")


def test_the_json_file_has_fractions_and_both_fronts(frontier):
    content = json.loads(json.dumps(frontier_mapping(frontier, ["For 5 ms: a_1"])))
    first, reference, _ = content["rows"]
    assert first["miou"]["value"] == 0.6
    assert first["difference"] == {"value": -0.05, "low": -0.06, "high": -0.04}
    assert (first["milliseconds"], first["speed"]) == ({"1": 5, "2": 2.5}, {"1": 2, "2": 3})
    assert (reference["difference"], reference["front_of_time"], reference["front_of_bytes"]) == (
        None,
        True,
        False,
    )
    assert (content["reference"], content["answers"]) == ("ref", ["For 5 ms: a_1"])


def test_the_page_escapes_names_and_marks_clear_differences(frontier):
    html = page(frontier, ["For 5 ms: a_1"])
    assert "<c>" not in html
    assert "&lt;c&gt;" in html
    assert "For 5 ms: a_1" in html
    assert html.count('class="significant"') == 1
    assert '<td class="significant">-5.00 [-6.00, -4.00]</td>' in html
    assert html.count("<svg") == 3
    assert "mIoU is over 2 of 3 classes." in html
    assert "http" not in html


def test_the_page_of_a_single_file_has_no_chart_of_differences(frontier):
    single = Frontier(frontier.rows[1:2], "ref", "val", "measured")
    assert page(single, []).count("<svg") == 2


def test_speed_is_the_median_ratio_within_a_round():
    # The third round was disturbed, and it disturbed both.
    reference, times = np.array([10.0, 10.0, 30.0, 12.0, 10.0]), np.array([5.0, 4.0, 15.0, 4.0, 10.0])
    # Ratios: 2, 2.5, 2, 3, 1.
    assert relative_speed(reference, times) == 2
