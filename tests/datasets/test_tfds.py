import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab.config import DataConfig
from deeplab.datasets import tfds as module
from deeplab.datasets.open import open_source
from deeplab.datasets.tfds import index_records, read_features, source_of_builder, tfds_source
from deeplab.errors import UserError
from tests.datasets.test_voc_segmentation import DUMMY, prepare_dummy

NAMES = [b"a", b"bb", b"ccc", b"dddd"]


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
    last = index_records(path)[-1]
    # The file ends between two records, which only the number of examples reveals.
    path.write_bytes(path.read_bytes()[: last.offset - 12])
    with pytest.raises(UserError, match="trainval: expected 4 examples, got 3"):
        source_of_builder(builder, "trainval", DataConfig())


def test_the_first_channel_of_a_mask_is_used():
    ids = np.stack([np.full((2, 3), value, np.uint8) for value in (4, 5, 6)], -1)
    file = io.BytesIO()
    Image.fromarray(ids).save(file, "PNG")
    assert module._decode_label(file.getvalue(), "mask").tolist() == [[4, 4, 4], [4, 4, 4]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four records with the features `name` (one string) and `pair` (two strings)."""
    path = tmp_path / "some.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name in NAMES:
            features = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
                for key, value in (("name", [name]), ("pair", [b"1", b"2"]))
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def test_records_are_read_in_any_order(path: Path):
    records = index_records(path)
    assert [read_features(record, ["name"]) for record in records[::-1]] == [[name] for name in NAMES[::-1]]
    assert index_records(path, 1, 2) == records[1:3]
    assert index_records(path, 3) == records[3:]


@pytest.mark.parametrize("name", ["nothing", "pair"])
def test_a_feature_that_is_not_one_string_is_reported(path: Path, name: str):
    with pytest.raises(UserError, match=f"feature {name}: no encoded image in some.tfrecord; features: name, pair"):
        read_features(index_records(path)[0], [name])


def test_truncated_damaged_and_missing_files_are_reported(path: Path):
    first = index_records(path)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(UserError, match=f"some.tfrecord: is truncated at byte {len(whole) - 7}"):
        index_records(path)
    path.write_bytes(whole[:12] + b"\xff" * first.length + whole[12 + first.length :])
    with pytest.raises(UserError, match=r"some.tfrecord: record at byte 12 is damaged"):
        read_features(first, ["name"])
    path.unlink()
    with pytest.raises(UserError, match=r"some.tfrecord: cannot be read"):
        index_records(path)
