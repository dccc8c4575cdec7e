"""Written masks read back unchanged; overlays and legends show the classes in the VOC colors."""

import numpy as np
import pytest
from PIL import Image

from deeplab.rendering.masks import (
    class_edges,
    class_shares,
    color_map,
    color_mask,
    count_pixels,
    draw_legend,
    id_mask,
    overlay,
    save_png,
    share_text,
    side_by_side,
)

IDS = np.array([[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 2, 255]], np.uint8)


def test_written_masks_read_back_as_the_same_ids(tmp_path):
    save_png(color_mask(IDS), tmp_path / "new" / "color.png")
    save_png(id_mask(IDS), tmp_path / "ids.png")
    with Image.open(tmp_path / "new" / "color.png") as mask:
        assert mask.format == "PNG"
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), IDS)
        assert mask.convert("RGB").getpixel((3, 1)) == (224, 224, 192)
    with Image.open(tmp_path / "ids.png") as mask:
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), IDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.png", "new"]


def test_edges_are_pixels_whose_right_or_lower_neighbor_differs():
    np.testing.assert_array_equal(class_edges(IDS), [[0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 1, 0]])


def test_overlay_blends_all_classes_except_the_background_and_draws_white_edges():
    image = np.full((*IDS.shape, 3), 100, np.uint8)
    drawn = overlay(image, IDS)
    assert drawn.dtype == np.uint8
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[0, 2].tolist() == [114, 50, 50]
    assert drawn[2, 0].tolist() == [50, 114, 50]
    assert drawn[0, 1].tolist() == [255, 255, 255]
    # Two fifths of the image and three fifths of (128, 0, 0): 116.8, 40, 40.
    assert overlay(image, IDS, 0.6)[0, 2].tolist() == [117, 40, 40]


def test_class_shares_exclude_ignored_pixels_and_are_sorted_from_the_largest():
    shares = class_shares(count_pixels(IDS), ("background", "cat"))
    assert list(shares) == ["background", "cat", "class 2"]
    assert shares["background"] == pytest.approx(0.4)
    assert shares["cat"] == pytest.approx(0.3)


def test_legend_grows_with_its_rows_and_is_placed_next_to_the_image():
    many = np.arange(20, dtype=np.uint8).reshape(4, 5)
    strip = draw_legend(many, [f"class {i}" for i in range(20)], min_height=10)
    assert strip.height > 20 * 14
    colors = {color for _, color in strip.getcolors(strip.width * strip.height)}
    assert {tuple(color_map()[i].tolist()) for i in range(20)} <= colors
    sheet = side_by_side(Image.new("RGB", (7, 5)), strip)
    assert sheet.size == (7 + strip.width, strip.height)


# By hand, from the bits of the id: r = bits 0, 3, 6; g = bits 1, 4, 7; b = bits 2, 5; most significant first.
DEVKIT = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),
    16: (0, 64, 0),
    20: (0, 64, 128),
    64: (32, 0, 0),
    255: (224, 224, 192),
}


def test_colors_are_those_of_the_devkit():
    colors = color_map()
    assert {i: tuple(colors[i].tolist()) for i in DEVKIT} == DEVKIT
    assert len({tuple(c) for c in colors.tolist()}) == 256


def test_colors_of_a_real_voc_mask(voc_root):
    path = sorted((voc_root / "VOC2012" / "SegmentationClass").glob("*.png"))[0]
    with Image.open(path) as mask:
        palette = np.reshape(mask.getpalette("RGB"), (-1, 3))
    np.testing.assert_array_equal(color_map(len(palette)), palette)


@pytest.mark.parametrize(("share", "text"), [(0.1234, "12.3%"), (0.0005, "0.1%"), (0.0004, "<0.1%"), (1e-9, "<0.1%")])
def test_share_of_a_class_that_occurs_is_never_zero(share, text):
    assert share_text(share) == text
