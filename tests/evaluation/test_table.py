"""Rows with scores, times and differences, as JSON and as a table."""

import json
import math
import time

import numpy as np
import pytest
from rich.console import Console

from deeplab.config import EvaluateConfig
from deeplab.datasets.source import Example, Source
from deeplab.evaluation.candidates import Candidate
from deeplab.evaluation.table import (
    Row,
    amount,
    cells,
    differences,
    measure,
    notes,
    terminal_table,
    timed,
    to_mapping,
)
from deeplab.prediction.predictor import Predictor

NAMES = ("background", "bright", "never")


def load(index: int) -> Example:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (12, 14, 3)).astype(np.uint8)
    label = (image[..., 0] > 128).astype(np.uint8)
    label[0, 0] = 255
    return Example(image, label, f"p{index}")


SOURCE = Source("test/val", NAMES, 6, load)


def candidate(name: str, threshold: int, scales: int = 1, size: tuple[int, int] | None = None) -> Candidate:
    def run(image: np.ndarray) -> np.ndarray:
        return (image[..., 0] > threshold).astype(np.int64)

    return Candidate(
        name, "somewhere", 16, (1.0,) * scales, False, 1_500_000, 3, lambda: Predictor(run, size), lambda s: s[0] * s[1]
    )


def rows() -> list[Row]:
    config = EvaluateConfig("somewhere", trimap_widths=(1, 5), bootstrap_samples=50, multi_scale_images=4)
    all_candidates = [candidate("perfect", 128), candidate("poor", 90), candidate("averaged", 128, scales=2)]
    return [measure(each, SOURCE, config, (10, 20)) for each in all_candidates]


def test_row_has_scores_interval_time_and_cost():
    perfect, poor, averaged = rows()
    assert perfect.scores.miou == 1.0
    assert (perfect.interval.low, perfect.interval.high) == (1.0, 1.0)
    assert 0 < poor.interval.low <= poor.scores.miou <= poor.interval.high < 1
    assert perfect.multiply_adds == 200
    assert perfect.milliseconds > 0
    assert list(perfect.scores.borders.trimap_mious) == [1, 5]
    assert (len(perfect.scores.names), len(averaged.scores.names)) == (6, 4)


def test_time_is_measured_around_the_network():
    def slow(image: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return image[..., 0]

    predictor, seconds = timed(Predictor(slow))
    image = load(0).image
    np.testing.assert_array_equal(predictor(image), image[..., 0])
    predictor(image)
    assert len(seconds) == 2
    assert min(seconds) >= 0.02


def test_differences_are_later_minus_earlier_rows_on_shared_images():
    compared = differences(rows(), 50, 0)
    assert [(d.row, d.minus, d.images) for d in compared] == [(1, 0, 6), (2, 0, 4), (2, 1, 4)]
    assert [d.labeled_classes for d in compared] == [2, 2, 2]
    assert compared[0].interval.high < 0
    assert compared[1].interval.value == 0
    assert compared[2].interval.excludes_zero
    assert differences(rows(), 0, 0) == []


def test_json_contains_rows_and_differences():
    evaluated = rows()
    mapping = json.loads(json.dumps(to_mapping("test/val", evaluated, differences(evaluated, 50, 0)), allow_nan=False))
    assert mapping["rows"][0]["miou"] == 1.0
    assert mapping["rows"][0]["per_class"] == {"background": 1.0, "bright": 1.0, "never": None}
    assert mapping["rows"][0]["output_stride"] == 16
    assert mapping["rows"][0]["bytes"] == 1_500_000
    assert mapping["differences"][0]["row"] == "poor"
    assert mapping["differences"][0]["minus"] == "perfect"
    assert mapping["differences"][0]["miou_difference"] == pytest.approx(evaluated[1].scores.miou - 1)


def test_cells_contain_percentages_and_the_difference_from_the_first_row():
    evaluated = rows()
    text = cells(evaluated, differences(evaluated, 50, 0))
    assert text[0][:2] == ("perfect", "100.00")
    assert text[0][3] == ""
    assert text[1][3].startswith("-")
    assert text[2][3] == "+0.00 [+0.00, +0.00]"
    assert text[0][-1] == "1.50 MB"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_table_fits_the_width(width):
    evaluated = rows()
    console = Console(width=width, record=True)
    console.print(terminal_table("test", evaluated, differences(evaluated, 50, 0), width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert all("100.00" in line for line in lines if "perfect" in line or "averaged" in line)
    assert ("size" in lines[2]) == (width == 200)


def test_notes_name_rows_with_stretched_or_fewer_images():
    config = EvaluateConfig("somewhere", trimap_widths=(), bootstrap_samples=0, multi_scale_images=4)
    small = measure(candidate("small", 128, size=(12, 10)), SOURCE, config, (10, 20))
    averaged = measure(candidate("averaged", 128, scales=2), SOURCE, config, (10, 20))
    assert small.interval is None
    text = " ".join(notes([small, averaged], differences([small, averaged], 10, 0)))
    assert "small: 6 of 6 images" in text
    assert "first 4 of 6 images: averaged" in text
    # The labels contain the first two of the three classes.
    assert "over the classes in the labels (2 of 3)" in text
    assert math.isnan(small.scores.iou[2])


@pytest.mark.parametrize(
    ("count", "text"), [(2_750_000_000, "2.75B"), (867_504_000, "867.50M"), (1500, "1.50K"), (7, "7")]
)
def test_amounts_are_formatted_with_a_unit(count, text):
    assert amount(count) == text
