import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig
from deeplab.datasets import tfds as module
from deeplab.datasets.open import open_source
from deeplab.datasets.tfds import source_of_builder, tfds_source
from deeplab.errors import UserError
from tests.datasets.test_voc_segmentation import DUMMY, prepare_dummy


def test_voc_segmentation_is_found_by_name_and_prepared_from_the_manual_folder(tmp_path: Path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/manual").symlink_to(DUMMY)
    config = DataConfig(source="tfds", name="voc_segmentation", root=str(tmp_path), train_split="train_aug")
    source = open_source(config, "train_aug")
    names = ["2007_000001", "2007_000002", "2008_000005", "2008_000006"]
    assert [example.name for example in source.examples()] == names
    assert set(np.unique(source.load(3).label)) == {0, 6}
    assert source.classes[15] == "person"


def test_an_incomplete_voc_is_reported_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from deeplab.tfds_builders.voc_segmentation import voc_segmentation_dataset_builder as builder

    monkeypatch.setattr(builder, "OFFICIAL_SIZES", {"train": 2, "val": 3, "trainval": 4, "train_aug": 4})
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/manual").symlink_to(DUMMY)
    with pytest.raises(UserError, match="split val: expected 3 images") as caught:
        tfds_source(DataConfig(source="tfds", name="voc_segmentation", root=str(tmp_path)), "train")
    assert caught.value.subject == "split val"


def test_a_prepared_data_set_is_read_by_feature_names(tmp_path: Path):
    builder = prepare_dummy(tmp_path)
    config = DataConfig(source="tfds", root=str(tmp_path), name="voc_segmentation")
    source = tfds_source(config, "train")
    assert (source.size, source.classes[1]) == (2, "aeroplane")
    assert {source.load(i).name for i in range(2)} == {"2007_000001", "2007_000002"}
    assert tfds_source(config, "trainval[:75%]").size == 3
    two_classes = dataclasses.replace(config, classes=("nothing", "plane"), label_ids=(0, 1))
    assert {int(source_of_builder(builder, "train", two_classes).load(i).label.max()) for i in range(2)} == {255}
    for change, message in (
        ({"label_feature": "mask"}, "feature mask: not in voc_segmentation; features: image"),
        ({"name": "no_such_set"}, "data.name=no_such_set: cannot be prepared"),
        ({"name": None}, "data.name: a name is required"),
    ):
        with pytest.raises(UserError, match=message):
            tfds_source(dataclasses.replace(config, **change), "train")
    with pytest.raises(
        UserError, match=r"split test: not in voc_segmentation .*splits: train, train_aug, trainval, val"
    ):
        tfds_source(config, "test")


def test_a_missing_record_is_reported(tmp_path: Path):
    builder = prepare_dummy(tmp_path)
    (path,) = tmp_path.rglob("*trainval.tfrecord*")
    last = module.index_records(path)[-1]
    # The file ends between two records, which only the number of examples reveals.
    path.write_bytes(path.read_bytes()[: last.offset - 12])
    with pytest.raises(UserError, match="trainval: expected 4 examples, got 3"):
        source_of_builder(builder, "trainval", DataConfig())


def test_the_first_channel_of_a_mask_is_used():
    ids = np.stack([np.full((2, 3), value, np.uint8) for value in (4, 5, 6)], -1)
    file = io.BytesIO()
    Image.fromarray(ids).save(file, "PNG")
    file.seek(0)
    assert module._decode_label(file, "mask").tolist() == [[4, 4, 4], [4, 4, 4]]
