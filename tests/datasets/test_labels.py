from pathlib import Path

import numpy as np
import pytest

from deeplab.datasets.labels import (
    check_label_ids,
    ids_of_colors,
    ids_of_values,
    lookup_table,
    map_values,
    read_colors,
    unlisted_values,
)
from deeplab.errors import UserError


def _table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "colors.yaml"
    path.write_text(text)
    return path


def test_colors_become_ids_in_the_order_of_the_table(tmp_path: Path):
    table = read_colors(_table(tmp_path, "sky: [128, 128, 128]\nroad: [128, 64, 128]\nignore: [0, 0, 0]\n"))
    assert table.classes == ("sky", "road")
    mask = np.array([[[128, 64, 128], [128, 128, 128], [0, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(ids_of_colors(mask, table, "m.png"), [[1, 0, 255]])


def test_an_unknown_color_is_reported_with_position_and_share(tmp_path: Path):
    table = read_colors(_table(tmp_path, "sky: [0, 0, 0]\nroad: [100, 0, 0]\n"))
    mask = np.zeros((2, 2, 3), np.uint8)
    mask[1, 0] = 99, 1, 0
    with pytest.raises(UserError, match=r"m.png: color \[99, 1, 0\] at row 1, column 0 .*nearest: road .*25.0%"):
        ids_of_colors(mask, table, "m.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky: [0, 0]", r"sky: expected a color, got \[0, 0\]"),
        ("sky: [0, 0, 256]", "expected a color"),
        ("- sky", "expected a mapping"),
        ("sky: [0, 0, 0]\nroad: [0, 0, 0]", r"sky and road are both \[0, 0, 0\]"),
        ("sky: [0, 0", "cannot be read"),
        ("sky: [0, 0, 0]\nsky: [1, 1, 1]", "names sky twice"),
        ("ignore: [0, 0, 0]", "expected 1 to 254 classes, got 0"),
    ],
)
def test_an_invalid_color_table_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        read_colors(_table(tmp_path, text))
    with pytest.raises(UserError, match="no such file"):
        read_colors(tmp_path / "none.yaml")


def test_values_become_ids_and_other_values_are_ignored():
    # Oxford pets: 1 animal, 2 background, 3 border.
    np.testing.assert_array_equal(ids_of_values(np.array([[1, 2, 3, 0]], np.uint8), (2, 1)), [[1, 0, 255, 255]])
    np.testing.assert_array_equal(ids_of_values(np.array([[0, 255]], np.uint8), (0, 255)), [[0, 1]])


def test_values_outside_the_table_are_refused():
    table = lookup_table({0: 255, 1: 0, 3: 1})
    np.testing.assert_array_equal(map_values(np.array([[0, 1, 3]], np.uint8), table, "m.png"), [[255, 0, 1]])
    with pytest.raises(UserError, match=r"m.png: expected mask values 0..1 and 3, got 255"):
        map_values(np.array([[0, 2, 255]], np.uint8), table, "m.png")


def test_unlisted_values_are_found():
    assert unlisted_values(np.array([[0, 1, 3], [3, 255, 2]], np.uint8), (0, 2)).tolist() == [1, 3, 3]


def test_label_ids_need_a_distinct_value_per_class():
    check_label_ids(None, ("a", "b"))
    check_label_ids((0, 255), ("a", "b"))
    for values, message in (
        ((0,), "expected 2 values, got 1"),
        ((0, 0), "expected distinct values 0..255"),
        ((0, 256), "expected distinct values 0..255"),
    ):
        with pytest.raises(UserError, match=message):
            check_label_ids(values, ("a", "b"))
