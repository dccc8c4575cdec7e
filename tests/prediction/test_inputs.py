"""Finding the files that a path or pattern names, and rotating images by their EXIF orientation."""

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


def inputs_of(pattern: Path) -> list[tuple[str, str, bool]]:
    return [(each.path.name, each.name, each.video) for each in find_inputs(str(pattern))]


def test_folder_yields_its_images_and_videos_sorted(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "film.mp4", "notes.txt", "deeper/c.png")
    assert inputs_of(tmp_path) == [("a.png", "a", False), ("b.JPG", "b", False), ("film.mp4", "film", True)]


def test_brackets_in_a_file_name_are_not_a_pattern(tmp_path):
    touch(tmp_path, "odd [1].png")
    assert inputs_of(tmp_path / "odd [1].png") == [("odd [1].png", "odd [1]", False)]


def test_names_contain_the_folders_that_a_pattern_matches(tmp_path):
    touch(tmp_path, "x/1.jpg", "y/1.jpg", "y/2.txt")
    assert [name for _, name, _ in inputs_of(tmp_path / "**" / "*.jpg")] == ["x/1", "y/1"]
    assert [name for _, name, _ in inputs_of(tmp_path / "x" / "*.jpg")] == ["1"]


def test_files_with_the_same_stem_keep_their_suffix_in_the_name(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.png")
    assert [name for _, name, _ in inputs_of(tmp_path)] == ["a_jpg", "a_png", "b"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nowhere", "no such file"),
        ("*.jpg", "no file matches"),
        ("only", "no image or video among 1"),
        ("only/a.txt", "no image or video among 1"),
    ],
)
def test_pattern_without_images_is_an_error(tmp_path, pattern, message):
    touch(tmp_path, "only/a.txt")
    with pytest.raises(UserError, match=message):
        find_inputs(str(tmp_path / pattern))


# The upright image for each orientation, by the EXIF standard.
STORED = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
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
def test_images_are_rotated_by_their_exif_orientation(tmp_path, orientation):
    image = Image.fromarray(np.repeat(STORED[..., None], 3, axis=2))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_upright(tmp_path / "a.png")[..., 0], UPRIGHT[orientation])
