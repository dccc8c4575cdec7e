import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import DataConfig
from deeplab.datasets.open import open_source
from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.source import Example, Source, checked_example, fingerprint
from deeplab.errors import UserError
from tests.datasets.test_folder import make_folder

CLASSES = ("background", "cat", "dog")


def _pair(label: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(label, np.uint8)
    return np.zeros((*ids.shape, 3), np.uint8), ids


def test_labels_other_than_class_ids_and_255_are_refused():
    image, label = _pair([[0, 1], [2, 255]])
    example = checked_example(image, label, CLASSES, "folder/one.jpg", "folder/one.png")
    assert example.name == "one"
    assert example.label is label
    with pytest.raises(UserError, match=r"folder/one.png: expected labels 0\.\.2 and 255 \(ignore\), got 3; "):
        checked_example(image, np.array([[0, 3], [1, 255]], np.uint8), CLASSES, "one.jpg", "folder/one.png")
    with pytest.raises(UserError, match="got 254"):
        checked_example(image, np.array([[0, 3], [254, 255]], np.uint8), CLASSES, "one.jpg", "one.png")


def test_a_mask_with_only_ignored_pixels_is_valid():
    image, label = _pair([[255, 255]])
    assert checked_example(image, label, CLASSES, "a", "b").label.max() == 255


def test_image_and_mask_of_different_size_are_refused():
    image, label = _pair([[0, 1], [2, 255]])
    with pytest.raises(UserError, match=r"one.png: expected 2x2 pixels, the size of one.jpg, got 1x2; .*nearest"):
        checked_example(image, label[:, :1], CLASSES, "one.jpg", "one.png")


def test_examples_stop_at_the_limit():
    def load(index: int) -> Example:
        return Example(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), str(index))

    of_three = Source("three", CLASSES, 3, load)
    assert [e.name for e in of_three.examples()] == ["0", "1", "2"]
    assert [e.name for e in of_three.examples(2)] == ["0", "1"]
    assert [e.name for e in of_three.examples(9)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="limit"):
        Source("all", CLASSES, None, load).examples()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files with the modification time of one second after the epoch."""
    (tmp_path / "here/masks").mkdir(parents=True)
    paths = [tmp_path / f"here/masks/{name}.png" for name in "ab"]
    for path in paths:
        path.write_bytes(b"123")
        os.utime(path, (1, 1))
    return paths


def _fingerprint(files: Sequence[Path]) -> str:
    return fingerprint(dataclasses.replace(shapes_source("train"), files=tuple(files)), DataConfig())


def test_size_and_modification_time_of_each_file_count(files: list[Path]):
    before = _fingerprint(files)
    assert _fingerprint(files) == before
    files[1].write_bytes(b"1234")
    os.utime(files[1], (1, 1))
    assert _fingerprint(files) != before
    files[1].write_bytes(b"321")
    os.utime(files[1], (1, 2))
    assert _fingerprint(files) != before
    os.utime(files[1], (1, 1))
    assert _fingerprint(files) == before


def test_names_and_order_count_but_not_the_location(files: list[Path], tmp_path: Path):
    before = _fingerprint(files)
    assert _fingerprint(files[::-1]) != before
    (tmp_path / "here").rename(tmp_path / "there")
    moved = [tmp_path / "there/masks" / path.name for path in files]
    assert _fingerprint(moved) == before
    moved[1].rename(moved[1].with_name("c.png"))
    assert _fingerprint([moved[0], moved[1].with_name("c.png")]) != before


def test_a_missing_file_counts_by_its_name(files: list[Path]):
    files[0].unlink()
    first_missing = _fingerprint(files)
    assert first_missing != _fingerprint(files[1:])
    assert first_missing != _fingerprint([files[0].with_name("other.png"), files[1]])


def test_settings_that_do_not_affect_the_examples_do_not_count(tmp_path: Path):
    config = make_folder(tmp_path / "data", 3)
    source = open_source(config, "train")
    before = fingerprint(source, config)
    for change in ({"root": "elsewhere"}, {"on_unreadable": "skip"}, {"eval_size": 513}, {"val_size": 1}):
        assert fingerprint(source, dataclasses.replace(config, **change)) == before, change
    assert fingerprint(source, dataclasses.replace(config, label_ids=(0, 1))) != before
    assert fingerprint(dataclasses.replace(source, classes=("a", "b")), config) != before
    assert fingerprint(dataclasses.replace(source, size=7), config) != before
    assert fingerprint(dataclasses.replace(source, name="other"), DataConfig()) != before
