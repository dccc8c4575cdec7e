"""Finding the files that a path, a pattern or a list names."""

from pathlib import Path

import pytest

from deeplab.errors import UserError
from deeplab.prediction.inputs import find_inputs


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def inputs_of(pattern: Path) -> list[tuple[str, str, bool]]:
    return [(each.path.name, each.name, each.video) for each in find_inputs(str(pattern))]


def test_folder_yields_its_images_and_videos_sorted(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "film.mp4", ".hidden")
    assert inputs_of(tmp_path) == [("a.png", "a", False), ("b.JPG", "b", False), ("film.mp4", "film", True)]


def test_a_folder_names_what_it_does_not_use(tmp_path):
    touch(tmp_path, "a.png", "b.heic", "deeper/c.png", ".hidden")
    with pytest.warns(UserWarning, match=r"not used: b\.heic, deeper; for files in sub-folders give a pattern"):
        assert inputs_of(tmp_path) == [("a.png", "a", False)]


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


def test_list_of_a_devkit_names_its_images_in_order(tmp_path):
    touch(tmp_path, "VOC2012/JPEGImages/b.jpg", "VOC2012/JPEGImages/a.jpg")
    lists = tmp_path / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("b\na\n\nmissing\n")
    images = tmp_path / "VOC2012/JPEGImages"
    found = find_inputs(str(lists / "test.txt"))
    assert [(each.path, each.name) for each in found] == [
        (images / f"{name}.jpg", name) for name in ("b", "a", "missing")
    ]
    (lists / "empty.txt").touch()
    with pytest.raises(UserError, match="empty"):
        find_inputs(str(lists / "empty.txt"))
