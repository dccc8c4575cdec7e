import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import DataConfig
from deeplab.datasets.open import open_source, skipping
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from tests.datasets.test_voc import make_devkit


def test_the_validation_split_has_a_size_and_the_training_split_all():
    assert open_source(DataConfig(), "train").size is None
    assert open_source(DataConfig(), "val").size == 64
    assert open_source(DataConfig(val_size=5), "val").size == 5


def test_a_devkit_is_opened_with_its_own_names(tmp_path: Path):
    make_devkit(tmp_path, ("a", "b", "c"))
    config = DataConfig(source="voc", root=str(tmp_path), val_split="train", val_size=2)
    source = open_source(DataConfig(source="voc", root=str(tmp_path)), "train")
    assert (source.size, source.classes[15]) == (3, "person")
    assert open_source(config, "train").size == 3  # a split that is trained on is not cut
    with pytest.raises(UserError, match=r"data.root: a folder is needed"):
        open_source(DataConfig(source="voc"), "train")


def test_names_of_your_own_fit_the_source():
    names = ("nothing", "a", "b", "c", "d", "e", "f")
    assert open_source(DataConfig(classes=names), "train").classes == names
    with pytest.raises(UserError, match=r"data.classes: 2 names for 7 classes"):
        open_source(DataConfig(classes=("a", "b")), "train")


def test_unreadable_pictures_stop_or_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    make_devkit(tmp_path, ("a", "b", "c"))
    (tmp_path / "VOC2012/JPEGImages/b.jpg").write_bytes(b"no picture")
    config = DataConfig(source="voc", root=str(tmp_path))
    with pytest.raises(UserError, match=r"b.jpg: cannot be read"):
        open_source(config, "train").load(1)
    skipping = open_source(dataclasses.replace(config, on_unreadable="skip"), "train")
    assert [skipping.load(i).name for i in (0, 1, 2, 1)] == ["a", "c", "c", "c"]
    assert [record.message.partition(": ")[0] for record in caplog.records] == ["skipped (1 so far)"]
    assert "b.jpg" in caplog.text
    # What is measured is never exchanged for something else.
    measured = dataclasses.replace(config, on_unreadable="skip", val_split="train", train_split="other")
    with pytest.raises(UserError, match=r"b.jpg: cannot be read"):
        open_source(measured, "train").load(1)
    for name in "ac":
        (tmp_path / f"VOC2012/JPEGImages/{name}.jpg").unlink()
    with pytest.raises(UserError, match=r"c.jpg: no such file"):
        open_source(dataclasses.replace(config, on_unreadable="skip"), "train").load(2)


def test_the_last_picture_gives_way_to_the_first_and_a_fault_is_met_once():
    asked: list[int] = []

    def load(index: int) -> Example:
        asked.append(index)
        if index == 2:
            raise UserError("two.png", "cannot be read")
        return Example(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), str(index))

    source = skipping(Source("three", ("a",), 3, load))
    assert [source.load(2).name for _ in range(3)] == ["0", "0", "0"]
    assert asked == [2, 0, 0, 0]
    endless = skipping(Source("endless", ("a",), None, load))
    assert endless.load(2).name == "3"


def test_what_is_neither_trained_on_nor_capped_is_left_alone(tmp_path: Path):
    year = make_devkit(tmp_path, ("a", "b", "c"))
    (year / "ImageSets/Segmentation/test.txt").write_text("a\nb\n")
    (year / "JPEGImages/b.jpg").write_bytes(b"no picture")
    config = DataConfig(source="voc", root=str(tmp_path), on_unreadable="skip", val_split="test", val_size=9)
    assert open_source(config, "test").size == 2
    other = dataclasses.replace(config, val_split="val")
    with pytest.raises(UserError, match=r"b.jpg: cannot be read"):
        open_source(other, "test").load(1)


def test_decoded_pictures_are_kept_where_that_is_wanted(tmp_path: Path):
    year = make_devkit(tmp_path)
    config = DataConfig(source="voc", root=str(tmp_path), cache="memory")
    source = open_source(config, "train")
    first = source.load(0)
    (year / "JPEGImages/a.jpg").unlink()
    assert source.load(0) is first


def test_keys_of_another_source_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="takes neither label_ids nor colors"):
        open_source(DataConfig(label_ids=(0, 1)), "train")
