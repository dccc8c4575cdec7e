"""The TFDS builder of VOC and its files as a data source."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from deeplab.tfds_builders.voc_segmentation import voc_segmentation_dataset_builder as module

from deeplab.datasets.voc import split_files, voc_source
from deeplab.errors import UserError

DUMMY = Path(module.__file__).parent / "dummy_data"
DEVKIT, SBD = DUMMY / "VOCdevkit", DUMMY / "benchmark_RELEASE"


def prepare_dummy(folder: Path, manual: Path = DUMMY) -> tfds.core.DatasetBuilder:
    """Prepare the data set of dummy_data/ in `folder` and return its builder."""
    builder = module.Builder(data_dir=str(folder))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(manual)))
    return builder


def test_masks_are_ids_and_masks_of_voc_take_precedence(tmp_path: Path):
    """SBD has one training image (ids 11 instead of 1), one of val and two others."""
    dataset = prepare_dummy(tmp_path).as_dataset(split="train_aug")
    masks = {e["name"].decode(): e["segmentation_mask"] for e in tfds.as_numpy(dataset)}
    assert sorted(masks) == ["2007_000001", "2007_000002", "2008_000005", "2008_000006"]
    assert set(np.unique(masks["2007_000001"])) == {0, 1, 255}
    assert set(np.unique(masks["2008_000006"])) == {0, 6}


def test_a_manual_folder_replaces_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("downloads")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", refuse)
    info = prepare_dummy(tmp_path / "all").info
    sizes = {split: split_info.num_examples for split, split_info in info.splits.items()}
    assert sizes == {"train": 2, "val": 2, "trainval": 4, "train_aug": 4}
    assert info.features["segmentation_mask"].names[15] == "person"
    shutil.copytree(DEVKIT, tmp_path / "manual/VOCdevkit")
    assert "train_aug" not in prepare_dummy(tmp_path / "voc", tmp_path / "manual").info.splits


def test_sizes_are_checked_if_a_list_is_complete():
    module.check_sizes({"train": 677, "val": 345, "trainval": 1022, "train_aug": 5})
    module.check_sizes({"train": 677, "val": 345, "trainval": 1022, "train_aug": 10582})
    module.check_sizes({"train": 1464, "val": 1449, "trainval": 2913, "train_aug": 10582})
    with pytest.raises(UserError, match=r"train_aug: expected 10582 images, because train is complete, got 10581"):
        module.check_sizes({"train": 1464, "val": 1449, "trainval": 2913, "train_aug": 10581})
    with pytest.raises(UserError, match=r"val: expected 1449 images, because train is complete, got 1448"):
        module.check_sizes({"train": 1464, "val": 1448, "trainval": 2913})


def test_an_incomplete_data_set_is_not_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "OFFICIAL_SIZES", {"train": 2, "val": 3, "trainval": 4, "train_aug": 4})
    with pytest.raises(UserError, match=r"split val: expected 3 images, because train is complete, got 2"):
        prepare_dummy(tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord*"))


def test_the_devkit_has_the_same_train_aug(tmp_path: Path):
    source = voc_source(DEVKIT, "train_aug", sbd=SBD)
    assert source.names == ("2007_000001", "2007_000002", "2008_000005", "2008_000006")
    assert [sorted(set(source.load(i).label.ravel()) - {0, 255}) for i in range(4)] == [[1], [2], [5], [6]]
    with pytest.raises(UserError, match=r"split train_aug: no masks of the Semantic Boundaries Dataset"):
        voc_source(DEVKIT, "train_aug")
    with pytest.raises(UserError, match=r"no such folder"):
        split_files(DEVKIT / "VOC2012", "train_aug", tmp_path / "nowhere")
