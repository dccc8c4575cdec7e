"""What is written reads back, and shows the classes."""

import numpy as np
import pytest
from PIL import Image

from deeplab.rendering.colors import color_map
from deeplab.rendering.masks import (
    beside,
    class_edges,
    color_mask,
    encode,
    id_mask,
    legend,
    overlay,
    save,
    shares,
)

IDS = np.array([[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 2, 255]], np.uint8)


def test_masks_read_back_as_ids(tmp_path):
    save(color_mask(IDS), tmp_path / "new" / "color.png")
    save(id_mask(IDS), tmp_path / "ids.png")
    with Image.open(tmp_path / "new" / "color.png") as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), IDS)
        assert mask.convert("RGB").getpixel((3, 1)) == (224, 224, 192)
    with Image.open(tmp_path / "ids.png") as mask:
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), IDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.png", "new"]


def test_edges_are_where_the_neighbor_right_or_below_differs():
    np.testing.assert_array_equal(class_edges(IDS), [[0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 1, 0]])


def test_overlay_blends_all_but_the_background_and_draws_edges():
    image = np.full((*IDS.shape, 3), 100, np.uint8)
    drawn = overlay(image, IDS)
    assert drawn.dtype == np.uint8
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[0, 2].tolist() == [114, 50, 50]
    assert drawn[2, 0].tolist() == [50, 114, 50]
    assert drawn[0, 1].tolist() == [255, 255, 255]


def test_shares_leave_ignored_pixels_out_and_come_largest_first():
    found = shares(IDS, ("background", "cat"))
    assert list(found) == ["background", "cat", "class 2"]
    assert found["background"] == pytest.approx(0.4)
    assert found["cat"] == pytest.approx(0.3)


def test_legend_grows_with_its_rows_and_stands_beside_the_picture():
    many = np.arange(20, dtype=np.uint8).reshape(4, 5)
    strip = legend(many, [f"class {i}" for i in range(20)], height=10)
    assert strip.height > 20 * 14
    colors = {color for _, color in strip.getcolors(strip.width * strip.height)}
    assert {tuple(color_map()[i].tolist()) for i in range(20)} <= colors
    sheet = beside(Image.new("RGB", (7, 5)), strip)
    assert sheet.size == (7 + strip.width, strip.height)


def test_encoding_is_the_kind_asked_for():
    assert encode(id_mask(IDS)).startswith(b"\x89PNG")
    assert encode(Image.new("RGB", (4, 4)), "JPEG").startswith(b"\xff\xd8")
