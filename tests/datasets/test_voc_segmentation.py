"""The TFDS builder, VOC prepared with it, and sets of TFDS as sources."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.voc_segmentation import voc_segmentation_dataset_builder as module
from deeplab.config import DataConfig, TrainingConfig
from deeplab.datasets.catalogue import source_of_builder, tfds_source
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
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
    with pytest.raises(UserError, match=r"val: 1448 pictures"):
        module.check_sizes({"train": 1464, "val": 1448, "trainval": 2913})


def test_the_files_give_the_same_train_aug(tmp_path: Path):
    source = voc_source(DEVKIT, "train_aug", sbd=SBD)
    assert source.names == ("2007_000001", "2007_000002", "2008_000005", "2008_000006")
    assert [sorted(set(source.load(i).label.ravel()) - {0, 255}) for i in range(4)] == [[1], [2], [5], [6]]
    with pytest.raises(UserError, match=r"split train_aug: no masks of the Semantic Boundaries Dataset"):
        voc_source(DEVKIT, "train_aug")
    with pytest.raises(UserError, match=r"no such folder"):
        split_files(DEVKIT / "VOC2012", "train_aug", tmp_path / "nowhere")


def test_prepared_pictures_are_those_of_the_devkit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = DataConfig(source="voc", root=str(DEVKIT), prepared=str(tmp_path / "prepared"), sbd=str(SBD))
    for split in ("train", "val", "train_aug"):
        copies = open_source(config, split)
        originals = voc_source(DEVKIT, split, sbd=SBD)
        assert copies.size == originals.size
        wanted = {e.name: e for e in originals.examples()}
        for example in copies.examples():
            np.testing.assert_array_equal(example.image, wanted[example.name].image)
            np.testing.assert_array_equal(example.label, wanted[example.name].label)
    assert capsys.readouterr().out.count("preparing PASCAL VOC") == 1
    moved = dataclasses.replace(config, root=str(tmp_path / "gone"))
    assert open_source(moved, "train").size == 2
    image, _ = next(iterate(training_batches(open_source(config, "train"), TrainingConfig(2, 3, 33), 0)))
    assert image.shape == (3, 33, 33, 3)
    with pytest.raises(UserError, match=r"split test: is not prepared"):
        open_source(config, "test")


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


def test_records_are_found_without_reading_them_all(tmp_path: Path):
    builder = module.Builder(devkit=str(DEVKIT), data_dir=str(tmp_path))
    builder.download_and_prepare()
    (path,) = tmp_path.rglob("*trainval.tfrecord*")
    records = index_records(path)
    names = [read_features(record, ["name"])[0].decode() for record in records]
    assert sorted(names) == ["2007_000001", "2007_000002", "2007_000003", "2007_000004"]
    assert [record.offset for record in index_records(path, 1, 2)] == [record.offset for record in records[1:3]]
    with pytest.raises(UserError, match="feature nothing: no encoded picture"):
        read_features(records[0], ["nothing"])
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="is cut off at byte"):
        index_records(path)
