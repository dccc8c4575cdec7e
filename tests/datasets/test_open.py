import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import DataConfig
from deeplab.datasets.open import open_source, open_training_source, skipping
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from tests.datasets.test_voc import make_devkit


def test_only_the_validation_split_is_limited():
    assert open_source(DataConfig(), "train").size is None
    assert open_source(DataConfig(), "val").size == 64
    assert open_source(DataConfig(val_size=5), "val").size == 5


def test_a_devkit_has_the_class_names_of_voc(tmp_path: Path):
    make_devkit(tmp_path, ("a", "b", "c"))
    config = DataConfig(source="voc", root=str(tmp_path), val_split="train", val_size=2)
    source = open_source(DataConfig(source="voc", root=str(tmp_path)), "train")
    assert (source.size, source.classes[15]) == (3, "person")
    assert open_source(config, "train").size == 3  # a training split is not limited
    with pytest.raises(UserError, match=r"data.root: a folder is required"):
        open_source(DataConfig(source="voc"), "train")


def test_other_class_names_must_match_the_number_of_classes():
    names = ("nothing", "a", "b", "c", "d", "e", "f")
    assert open_source(DataConfig(classes=names), "train").classes == names
    with pytest.raises(UserError, match=r"data.classes: 2 names for 7 classes"):
        open_source(DataConfig(classes=("a", "b")), "train")


def test_unreadable_images_stop_or_are_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    make_devkit(tmp_path, ("a", "b", "c"))
    (tmp_path / "VOC2012/JPEGImages/b.jpg").write_bytes(b"not an image")
    config = DataConfig(source="voc", root=str(tmp_path))
    with pytest.raises(UserError, match=r"b.jpg: cannot be read"):
        open_source(config, "train").load(1)
    skipping = open_source(dataclasses.replace(config, on_unreadable="skip"), "train")
    assert [skipping.load(i).name for i in (0, 1, 2, 1)] == ["a", "c", "c", "c"]
    assert [record.message.partition(": ")[0] for record in caplog.records] == ["skipped (1 so far)"]
    assert "b.jpg" in caplog.text
    # An evaluation never replaces examples.
    evaluated = dataclasses.replace(config, on_unreadable="skip", val_split="train", train_split="other")
    with pytest.raises(UserError, match=r"b.jpg: cannot be read"):
        open_source(evaluated, "train").load(1)
    for name in "ac":
        (tmp_path / f"VOC2012/JPEGImages/{name}.jpg").unlink()
    with pytest.raises(UserError, match=r"c.jpg: no such file"):
        open_source(dataclasses.replace(config, on_unreadable="skip"), "train").load(2)


def test_skipping_wraps_around_and_loads_an_unusable_example_once():
    loaded: list[int] = []

    def load(index: int) -> Example:
        loaded.append(index)
        if index == 2:
            raise UserError("two.png", "cannot be read")
        return Example(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), str(index))

    source = skipping(Source("three", ("a",), 3, load))
    assert [source.load(2).name for _ in range(3)] == ["0", "0", "0"]
    assert loaded == [2, 0, 0, 0]
    endless = skipping(Source("endless", ("a",), None, load))
    assert endless.load(2).name == "3"


def test_other_splits_are_neither_limited_nor_skipping(tmp_path: Path):
    year = make_devkit(tmp_path, ("a", "b", "c"))
    (year / "ImageSets/Segmentation/test.txt").write_text("a\nb\n")
    (year / "JPEGImages/b.jpg").write_bytes(b"not an image")
    config = DataConfig(source="voc", root=str(tmp_path), on_unreadable="skip", val_split="test", val_size=9)
    assert open_source(config, "test").size == 2
    other = dataclasses.replace(config, val_split="val")
    with pytest.raises(UserError, match=r"b.jpg: cannot be read"):
        open_source(other, "test").load(1)


def test_keys_of_other_sources_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"data.label_ids: data=shapes does not use it; .*data=folder, data=tfds"):
        open_source(DataConfig(label_ids=(0, 1)), "train")
    with pytest.raises(UserError, match=r"data.colors: data=tfds does not use it"):
        open_source(DataConfig(source="tfds", name="voc_segmentation", colors="colors.yaml"), "train")
    with pytest.raises(UserError, match=r"data.download: data=voc does not use it"):
        open_source(DataConfig(source="voc", root=str(tmp_path), download=True), "train")


def test_only_training_images_are_resized_and_each_is_decoded_once(tmp_path: Path):
    year = make_devkit(tmp_path, ("a", "b", "c"))
    (year / "ImageSets/Segmentation/val.txt").write_text("b\n")
    config = DataConfig(source="voc", root=str(tmp_path), resize="stretch", image_size=(40, 70))
    source = open_training_source(config)
    assert source.load(1).image.shape == (40, 70, 3)
    assert open_source(config, "train").load(1).label.shape == (6, 8)
    assert open_source(config, "val").load(0).label.shape == (6, 8)
    (year / "JPEGImages/c.jpg").unlink()
    assert source.load(1).label.shape == (40, 70)
    with pytest.raises(UserError, match=r"c.jpg: no such file"):
        source.load(2)
    assert open_training_source(dataclasses.replace(config, cache_memory=0)).load(1).label.shape == (40, 70)


def test_trainings_on_one_machine_divide_the_memory_of_the_cache(monkeypatch):
    limits = []
    monkeypatch.setattr("deeplab.datasets.open.machine_memory", lambda: 8000)
    monkeypatch.setattr("deeplab.datasets.open.cached_source", lambda source, limit: limits.append(limit))
    config = DataConfig(source="folder", root="set", resize="stretch", image_size=33, cache_memory=0.25)
    monkeypatch.setattr("deeplab.datasets.open.open_source", lambda *arguments: None)
    monkeypatch.setattr("deeplab.datasets.open.fitted_source", lambda *arguments: None)
    open_training_source(config)
    open_training_source(config, processes=4)
    assert limits == [2000, 500]


def test_drawn_scenes_are_not_resized():
    with pytest.raises(UserError, match=r"data.resize: expected none with data=shapes, whose scenes have one size"):
        DataConfig(resize="letterbox", image_size=65)
