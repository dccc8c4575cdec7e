"""Rows are measured, timed and compared; what they become in JSON and in the table."""

import json
import math
import time

import numpy as np
import pytest
from rich.console import Console

from deeplab.config import EvaluateConfig
from deeplab.datasets.source import Example, Source
from deeplab.evaluation.candidates import Candidate
from deeplab.evaluation.rows import Row, differences, measure, timed
from deeplab.evaluation.table import amount, cells, notes, terminal_table, to_mapping
from deeplab.prediction.predictor import Predictor

NAMES = ("background", "bright", "never")


def load(index: int) -> Example:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (12, 14, 3)).astype(np.uint8)
    label = (image[..., 0] > 128).astype(np.uint8)
    label[0, 0] = 255
    return Example(image, label, f"p{index}")


SOURCE = Source("test/val", NAMES, 6, load)


def candidate(name: str, threshold: int, views: int = 1, size: tuple[int, int] | None = None) -> Candidate:
    def run(image: np.ndarray) -> np.ndarray:
        return (image[..., 0] > threshold).astype(np.int64)

    scales = (1.0,) * views
    return Candidate(
        name, "somewhere", 16, scales, False, 1_500_000, 3, lambda: Predictor(run, size), lambda s: s[0] * s[1]
    )


def rows() -> list[Row]:
    config = EvaluateConfig("somewhere", trimap_widths=(1, 5), bootstrap_samples=50, multi_scale_images=4)
    made = [candidate("right", 128), candidate("poor", 90), candidate("views", 128, views=2)]
    return [measure(each, SOURCE, config, (10, 20)) for each in made]


def test_row_holds_scores_interval_time_and_cost():
    right, poor, views = rows()
    assert right.scores.miou == 1.0
    assert (right.interval.low, right.interval.high) == (1.0, 1.0)
    assert 0 < poor.interval.low <= poor.scores.miou <= poor.interval.high < 1
    assert right.multiply_adds == 200
    assert right.milliseconds > 0
    assert list(right.scores.borders.trimap_mious) == [1, 5]
    assert (len(right.scores.names), len(views.scores.names)) == (6, 4)


def test_time_is_that_of_the_network_alone():
    def slow(image: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return image[..., 0]

    predictor, times = timed(Predictor(slow))
    image = load(0).image
    np.testing.assert_array_equal(predictor(image), image[..., 0])
    predictor(image)
    assert len(times) == 2
    assert min(times) >= 0.02


def test_differences_are_later_less_earlier_on_shared_pictures():
    found = differences(rows(), 50, 0)
    assert [(d.row, d.minus, d.pictures) for d in found] == [(1, 0, 6), (2, 0, 4), (2, 1, 4)]
    assert found[0].interval.high < 0
    assert found[1].interval.value == 0
    assert found[2].interval.settled
    assert differences(rows(), 0, 0) == []


def test_json_names_rows_and_differences():
    made = rows()
    mapping = json.loads(json.dumps(to_mapping("test/val", made, differences(made, 50, 0), (10, 20)), allow_nan=False))
    assert mapping["rows"][0]["miou"] == 1.0
    assert mapping["rows"][0]["per_class"] == {"background": 1.0, "bright": 1.0, "never": None}
    assert mapping["rows"][0]["output_stride"] == 16
    assert mapping["rows"][0]["bytes"] == 1_500_000
    assert mapping["differences"][0]["row"] == "poor"
    assert mapping["differences"][0]["minus"] == "right"
    assert mapping["differences"][0]["miou_difference"] == pytest.approx(made[1].scores.miou - 1)


def test_table_in_percent_with_the_difference_to_the_first_row():
    made = rows()
    text = cells(made, differences(made, 50, 0))
    assert text[0][:2] == ("right", "100.00")
    assert text[0][3] == ""
    assert text[1][3].startswith("-")
    assert text[2][3] == "+0.00 [+0.00, +0.00]"
    assert text[0][-1] == "1.50 MB"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_table_keeps_to_the_width(width):
    made = rows()
    console = Console(width=width, record=True)
    console.print(terminal_table("test", made, differences(made, 50, 0), width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert all("100.00" in line for line in lines if "right" in line or "views" in line)
    assert ("size" in lines[2]) == (width == 200)


def test_notes_tell_of_stretched_and_of_fewer_pictures():
    config = EvaluateConfig("somewhere", trimap_widths=(), bootstrap_samples=0, multi_scale_images=4)
    small = measure(candidate("small", 128, size=(12, 10)), SOURCE, config, (10, 20))
    views = measure(candidate("views", 128, views=2), SOURCE, config, (10, 20))
    assert small.interval is None
    text = " ".join(notes([small, views], (10, 20)))
    assert "small: 6 of 6 pictures" in text
    assert "first 4 of 6 pictures: views" in text
    assert math.isnan(small.scores.iou[2])


@pytest.mark.parametrize(
    ("count", "text"), [(2_750_000_000, "2.75B"), (867_504_000, "867.50M"), (1500, "1.50K"), (7, "7")]
)
def test_amounts(count, text):
    assert amount(count) == text
