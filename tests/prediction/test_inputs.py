"""What a path means, and pictures turned upright."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.errors import UserError
from deeplab.prediction.inputs import find_inputs, read_upright


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(pattern: Path) -> list[tuple[str, str, bool]]:
    return [(each.path.name, each.name, each.video) for each in find_inputs(str(pattern))]


def test_folder_gives_its_pictures_and_videos_sorted(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "film.mp4", "notes.txt", "deeper/c.png")
    assert found(tmp_path) == [("a.png", "a", False), ("b.JPG", "b", False), ("film.mp4", "film", True)]


def test_file_is_itself_whatever_its_name(tmp_path):
    touch(tmp_path, "odd [1].png")
    assert found(tmp_path / "odd [1].png") == [("odd [1].png", "odd [1]", False)]


def test_pattern_keeps_folders_apart(tmp_path):
    touch(tmp_path, "x/1.jpg", "y/1.jpg", "y/2.txt")
    assert [name for _, name, _ in found(tmp_path / "**" / "*.jpg")] == ["x/1", "y/1"]
    assert [name for _, name, _ in found(tmp_path / "x" / "*.jpg")] == ["1"]


def test_same_stem_twice_keeps_the_ending(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.png")
    assert [name for _, name, _ in found(tmp_path)] == ["a_jpg", "a_png", "b"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nowhere", "no such file"),
        ("*.jpg", "no file fits"),
        ("only", "no picture among 1"),
        ("only/a.txt", ".txt is no"),
    ],
)
def test_nothing_to_label_is_an_error(tmp_path, pattern, message):
    touch(tmp_path, "only/a.txt")
    with pytest.raises(UserError, match=message):
        find_inputs(str(tmp_path / pattern))


# By the EXIF standard: which corner of the stored picture holds the first row and column of the upright one.
ABCDEF = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
UPRIGHT = {
    1: [[10, 20, 30], [40, 50, 60]],
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[40, 10], [50, 20], [60, 30]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[30, 60], [20, 50], [10, 40]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_as_their_orientation_says(tmp_path, orientation):
    stored = Image.fromarray(np.repeat(ABCDEF[..., None], 3, axis=2))
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_upright(tmp_path / "a.png")[..., 0], UPRIGHT[orientation])
