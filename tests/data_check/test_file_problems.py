import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.data_check import file_problems
from deeplab.data_check.file_problems import orientation_problems, palette_problems, unused_problems
from deeplab.data_check.statistics import scan_split
from deeplab.datasets.folder import folder_source
from deeplab.datasets.source import Source
from tests.datasets.test_folder import make_folder


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The split of all of three images, with gray masks."""
    return folder_source(tmp_path, "all", make_folder(tmp_path, 3))


def test_files_without_problems(source: Source):
    assert not orientation_problems(scan_split(source, None))
    assert not palette_problems(source)
    assert not unused_problems(source)


def test_images_with_an_orientation_are_named(source: Source):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (32, 24)).save(source.files[2], exif=exif)
    (problem,) = orientation_problems(scan_split(source, None))
    assert "1 of 3 checked images have an EXIF orientation" in problem.description
    assert problem.files == (str(source.files[2]),)
    # Sources whose masks show the stored pixels do not turn their images.
    assert not orientation_problems(scan_split(dataclasses.replace(source, oriented=False), None))


def _save_palette(path: Path, colors: list[int]) -> None:
    mask = Image.fromarray(np.zeros((24, 32), np.uint8))
    mask.putpalette(colors)
    mask.save(path)


def test_masks_of_different_palettes_are_named(source: Source):
    masks = source.files[1::2]
    _save_palette(masks[0], [0, 0, 0, 128, 0, 0, 9, 9, 9])
    _save_palette(masks[1], [0, 0, 0, 128, 0, 0])  # shorter
    _save_palette(masks[2], [0, 0, 0, 128, 0, 0, 7, 7, 7])  # the same colors for the two classes
    assert not palette_problems(source)
    _save_palette(masks[2], [0, 0, 0, 0, 128, 0])
    (problem,) = palette_problems(source)
    assert "2 different palettes" in problem.description
    assert problem.files == (str(masks[0]), str(masks[2]))


def test_palettes_of_about_200_masks_are_read(source: Source, monkeypatch: pytest.MonkeyPatch):
    read: list[Path] = []
    monkeypatch.setattr(file_problems, "read_palette", lambda path: read.append(path) or ())
    names = [Path(part, f"{i}.png") for i in range(500) for part in ("images", "masks")]
    assert not palette_problems(dataclasses.replace(source, files=tuple(names)))
    assert {path.parent.name for path in read} == {"masks"}
    assert 200 <= len(read) <= 300


def test_files_that_are_not_used_are_counted(tmp_path: Path):
    config = make_folder(tmp_path, 3)
    for name in ("a.heic", "b.avif"):
        (tmp_path / "images" / name).write_bytes(b"1")
    (problem,) = unused_problems(folder_source(tmp_path, "train", config))
    assert "2 files next to the images and masks are not used" in problem.description
    assert problem.files == ("images/a.heic", "images/b.avif")
