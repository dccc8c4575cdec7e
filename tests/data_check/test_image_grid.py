from pathlib import Path

import numpy as np
from PIL import Image

from deeplab.data_check.image_grid import save_grid
from deeplab.datasets.source import Example


def _example(height: int, width: int, ids: int, name: str = "one") -> Example:
    label = np.full((height, width), ids, np.uint8)
    return Example(np.full((height, width, 3), 100, np.uint8), label, name)


def test_a_tile_shows_the_image_and_its_overlay_with_the_classes_below(tmp_path: Path):
    example = _example(100, 150, 0)
    example.label[:, 75:] = 2
    save_grid(tmp_path / "grid.png", [example], ("background", "a", "b"), 620)
    sheet = np.asarray(Image.open(tmp_path / "grid.png"))
    # The row is 200 pixels high: the image is 300 wide, the overlay starts after a seam of 2.
    assert sheet[100, 250].tolist() == [100, 100, 100]
    assert sheet[100, 302 + 50].tolist() == [100, 100, 100]
    # Two fifths of the image, three fifths of (0, 128, 0): 40, 116.8, 40.
    assert sheet[100, 302 + 250].tolist() == [40, 117, 40]
    # The squares of both classes follow the name.
    caption = sheet[200:]
    assert (caption == (0, 0, 0)).all(axis=2).any()
    assert (caption == (0, 128, 0)).all(axis=2).sum() >= 64


def test_images_of_any_shape_fill_the_rows(tmp_path: Path):
    shapes = [(100, 150), (150, 100), (100, 100), (60, 300), (100, 150), (120, 90), (100, 140)]
    examples = [_example(h, w, i % 3, f"n{i}") for i, (h, w) in enumerate(shapes)]
    save_grid(tmp_path / "grid.png", examples, ("background", "a", "b"), 800)
    sheet = np.asarray(Image.open(tmp_path / "grid.png"))
    assert sheet.shape[1] == 800
    # All rows but the last reach the right end, except for the gaps and the rounding.
    ends = [np.flatnonzero((line != 255).any(1))[-1] + 1 for line in sheet if (line != 255).any(1).sum() > 400]
    assert min(ends[: len(ends) // 2]) > 770


def test_a_very_wide_image_and_an_empty_grid(tmp_path: Path):
    save_grid(tmp_path / "wide.png", [_example(4, 900, 1, "a name that is much longer than four pixels")], ("b", "a"))
    assert Image.open(tmp_path / "wide.png").width == 1600
    save_grid(tmp_path / "none.png", [], ("background",))
    assert Image.open(tmp_path / "none.png").size == (1600, 1)
