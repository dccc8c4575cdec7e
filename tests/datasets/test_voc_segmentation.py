"""The TFDS builder, VOC prepared with it, and sets of TFDS as sources."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from deeplab.tfds_builders.voc_segmentation import voc_segmentation_dataset_builder as module
from deeplab.config import DataConfig
from deeplab.datasets import catalogue
from deeplab.datasets.tfds import source_of_builder, tfds_source
from deeplab.datasets.tfrecords import index_records, read_features
from deeplab.datasets.voc import split_files, voc_source
from deeplab.errors import UserError

DUMMY = Path(module.__file__).parent / "dummy_data"
DEVKIT, SBD = DUMMY / "VOCdevkit", DUMMY / "benchmark_RELEASE"


def test_masks_are_ids_and_train_aug_prefers_vocs_own(tmp_path: Path):
    """SBD has one training picture (ids 11 instead of 1), one of val and two of its own."""
    builder = module.Builder(devkit=str(DEVKIT), sbd=str(SBD), data_dir=str(tmp_path))
    builder.download_and_prepare()
    examples = {
        e["name"].decode(): e["segmentation_mask"] for e in tfds.as_numpy(builder.as_dataset(split="train_aug"))
    }
    assert sorted(examples) == ["2007_000001", "2007_000002", "2008_000005", "2008_000006"]
    assert set(np.unique(examples["2007_000001"])) == {0, 1, 255}
    assert set(np.unique(examples["2008_000006"])) == {0, 6}
    assert builder.info.features["segmentation_mask"].names[15] == "person"


def test_sizes_are_checked_where_a_list_is_complete():
    module.check_sizes({"train": 677, "val": 345, "trainval": 1022, "train_aug": 5})
    module.check_sizes({"train": 1464, "val": 1449, "trainval": 2913, "train_aug": 10582})
    with pytest.raises(UserError, match=r"train_aug: 10581 pictures, while train is complete; 10582"):
        module.check_sizes({"train": 1464, "val": 1449, "trainval": 2913, "train_aug": 10581})
    module.check_sizes({"train": 1464, "val": 1449, "trainval": 2913, "mine": 7})
    module.check_sizes({"train": 677, "val": 345, "trainval": 1022, "train_aug": 10582})
    with pytest.raises(UserError, match=r"val: 1448 pictures"):
        module.check_sizes({"train": 1464, "val": 1448, "trainval": 2913})


def test_an_incomplete_set_is_not_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "OFFICIAL_SIZES", {"train": 2, "val": 3, "trainval": 4, "train_aug": 4})
    for only in (None, "train"):
        builder = module.Builder(devkit=str(DEVKIT), only=only, data_dir=str(tmp_path))
        with pytest.raises(UserError, match=r"split val: 2 pictures, while train is complete; 3 are expected"):
            builder.download_and_prepare()
    assert not list(tmp_path.rglob("*.tfrecord*"))


def test_the_manual_folder_is_taken_instead_of_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("downloads")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", refuse)
    builder = module.Builder(data_dir=str(tmp_path / "made"))
    manual = tfds.download.DownloadConfig(manual_dir=str(DUMMY))
    builder.download_and_prepare(download_config=manual)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
        "train": 2,
        "val": 2,
        "trainval": 4,
        "train_aug": 4,
    }


def test_one_split_alone_is_prepared_if_that_is_wanted(tmp_path: Path):
    builder = module.Builder(devkit=str(DEVKIT), only="val", data_dir=str(tmp_path))
    builder.download_and_prepare()
    assert list(builder.info.splits) == ["val"]


def test_the_files_give_the_same_train_aug(tmp_path: Path):
    source = voc_source(DEVKIT, "train_aug", sbd=SBD)
    assert source.names == ("2007_000001", "2007_000002", "2008_000005", "2008_000006")
    assert [sorted(set(source.load(i).label.ravel()) - {0, 255}) for i in range(4)] == [[1], [2], [5], [6]]
    with pytest.raises(UserError, match=r"split train_aug: no masks of the Semantic Boundaries Dataset"):
        voc_source(DEVKIT, "train_aug")
    with pytest.raises(UserError, match=r"no such folder"):
        split_files(DEVKIT / "VOC2012", "train_aug", tmp_path / "nowhere")


def test_a_tfds_set_is_read_by_its_feature_names(tmp_path: Path):
    builder = module.Builder(devkit=str(DEVKIT), data_dir=str(tmp_path))
    builder.download_and_prepare()
    config = DataConfig(source="tfds", root=str(tmp_path), name="voc_segmentation")
    source = tfds_source(config, "train")
    assert (source.size, source.classes[1]) == (2, "aeroplane")
    assert {source.load(i).name for i in range(2)} == {"2007_000001", "2007_000002"}
    assert tfds_source(config, "trainval[:75%]").size == 3
    picked = dataclasses.replace(config, classes=("nothing", "plane"), label_ids=(0, 1))
    assert {int(source_of_builder(builder, "train", picked).load(i).label.max()) for i in range(2)} == {255}
    for changed, message in (
        ({"label_feature": "mask"}, "feature mask: voc_segmentation has none of that name; it has image"),
        ({"name": "no_such_set"}, "data.name=no_such_set: cannot be prepared"),
        ({"name": None}, "data.name: the name of a set is needed"),
    ):
        with pytest.raises(UserError, match=message):
            tfds_source(dataclasses.replace(config, **changed), "train")
    with pytest.raises(UserError, match=r"split test: .*splits: train, trainval, val"):
        tfds_source(config, "test")


def test_of_a_mask_with_several_channels_the_first_counts():
    ids = np.stack([np.full((2, 3), value, np.uint8) for value in (4, 5, 6)], -1)
    file = io.BytesIO()
    Image.fromarray(ids).save(file, "PNG")
    file.seek(0)
    assert catalogue._first_channel(file, "mask").tolist() == [[4, 4, 4], [4, 4, 4]]


def test_records_are_found_without_reading_them_all(tmp_path: Path):
    builder = module.Builder(devkit=str(DEVKIT), data_dir=str(tmp_path))
    builder.download_and_prepare()
    (path,) = tmp_path.rglob("*trainval.tfrecord*")
    records = index_records(path)
    names = [read_features(record, ["name"])[0].decode() for record in records]
    assert names == ["2007_000001", "2007_000002", "2007_000003", "2007_000004"]
    assert [record.offset for record in index_records(path, 1, 2)] == [record.offset for record in records[1:3]]
    with pytest.raises(UserError, match="feature nothing: no encoded picture"):
        read_features(records[0], ["nothing"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(UserError, match="is cut off at byte"):
        index_records(path)
    # Cut between two records, which the file itself does not show.
    path.write_bytes(whole[: records[3].offset - 12])
    assert len(index_records(path)) == 3
    with pytest.raises(UserError, match="trainval has 3 of 4 examples"):
        source_of_builder(builder, "trainval", DataConfig())
    path.write_bytes(whole[:16] + b"\xff" * 40 + whole[56:])
    with pytest.raises(UserError, match=r"trainval.*record at byte 12 is broken"):
        read_features(records[0], ["name"])
