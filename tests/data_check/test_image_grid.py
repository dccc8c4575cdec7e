from pathlib import Path

import numpy as np
from PIL import Image

from deeplab.data_check.image_grid import save_grid, tinted
from deeplab.datasets.source import Example


def _example(height: int, width: int, ids: int, name: str = "one") -> Example:
    label = np.full((height, width), ids, np.uint8)
    return Example(np.full((height, width, 3), 100, np.uint8), label, name)


def test_classes_have_the_colors_of_the_devkit_and_the_background_none():
    example = _example(6, 8, 0)
    example.label[:, 4:] = 2
    shown = tinted(example)
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[0, 4].tolist() == [255, 255, 255]  # the edge
    # Two fifths of the picture, three fifths of (0, 128, 0).
    assert shown[0, 6].tolist() == [40, 116, 40]


def test_pictures_fill_the_rows_whatever_their_shapes(tmp_path: Path):
    shapes = [(100, 150), (150, 100), (100, 100), (60, 300), (100, 150), (120, 90), (100, 140)]
    examples = [_example(h, w, i % 3, f"n{i}") for i, (h, w) in enumerate(shapes)]
    save_grid(tmp_path / "grid.png", examples, ("background", "a", "b"), 800)
    sheet = np.asarray(Image.open(tmp_path / "grid.png"))
    assert sheet.shape[1] == 800
    # White is the paper; every row but the last leaves no more of it at its right end than the gaps and the rounding.
    ends = [np.flatnonzero((line != 255).any(1))[-1] + 1 for line in sheet if (line != 255).any(1).sum() > 400]
    assert min(ends[: len(ends) // 2]) > 770


def test_a_very_wide_picture_and_none_at_all(tmp_path: Path):
    save_grid(tmp_path / "wide.png", [_example(4, 900, 1, "a name that is far longer than four pixels")], ("b", "a"))
    assert Image.open(tmp_path / "wide.png").width == 1600
    save_grid(tmp_path / "none.png", [], ("background",))
    assert Image.open(tmp_path / "none.png").size == (1600, 1)
