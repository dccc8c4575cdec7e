import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import downloader

from deeplab.config import DataConfig
from deeplab.datasets import tfds as module
from deeplab.datasets.open import open_source
from deeplab.datasets.tfds import source_of_builder, tfds_source
from deeplab.datasets.tfds_records import index_records, read_features
from deeplab.errors import UserError
from tests.datasets.test_voc_segmentation import DUMMY, prepare_dummy

NAMES = [b"a", b"bb", b"ccc", b"dddd"]


def test_voc_segmentation_is_found_by_name_and_prepared_from_the_manual_folder(tmp_path: Path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/manual").symlink_to(DUMMY)
    config = DataConfig(
        source="tfds", name="voc_segmentation", root=str(tmp_path), train_split="train_aug", download=True
    )
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
        tfds_source(DataConfig(source="tfds", name="voc_segmentation", root=str(tmp_path), download=True), "train")
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
        ({"name": "no_such_set"}, "data.name=no_such_set: cannot be opened"),
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


def build(folder: Path, name: str, mask: tfds.features.FeatureConnector, stored: np.ndarray | bytes) -> DataConfig:
    """Prepare a TFDS set of one image `[2, 3, 3]` and one mask; return its config."""
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(2, 3, 3), encoding_format="png"), "segmentation_mask": mask}
    )
    example = {"image": np.zeros((2, 3, 3), np.uint8), "segmentation_mask": stored}
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=features,
        split_datasets={"train": [("only", example)]},
        data_dir=str(folder),
    )
    return DataConfig(source="tfds", name=name, root=str(folder), classes=("nothing", "thing"))


def test_masks_of_several_channels_or_of_fractions_are_refused(tmp_path: Path):
    image = tfds.features.Image
    for name, mask, stored, message in (
        ("colors", image(shape=(2, 3, 3)), np.zeros((2, 3, 3), np.uint8), "has 3 channels; colors and instance ids"),
        (
            "alpha",
            image(shape=(2, 3, 4)),
            np.zeros((2, 3, 4), np.uint8),
            "alpha has 4 channels",
        ),
        (
            "fractions",
            image(shape=(2, 3, 1), dtype=np.float32),
            np.zeros((2, 3, 1), np.float32),
            "expected integers, fractions has float32",
        ),
        (
            "numbers",
            tfds.features.Tensor(shape=(2, 3), dtype=np.int32),
            np.zeros((2, 3), np.int32),
            "expected an image, numbers has Tensor",
        ),
    ):
        config = build(tmp_path, name, mask, stored)
        with pytest.raises(UserError, match=f"feature segmentation_mask: .*{message}"):
            open_source(config, "train")


def test_16_bit_masks_are_read_up_to_255(tmp_path: Path):
    feature = tfds.features.Image(shape=(2, 3, 1), dtype=np.uint16, encoding_format="png")
    ids = np.array([[0, 1, 1], [255, 0, 1]], np.uint16)[..., None]
    source = open_source(build(tmp_path, "wide", feature, ids), "train")
    np.testing.assert_array_equal(source.load(0).label, ids[..., 0])
    source = open_source(build(tmp_path, "instances", feature, ids + 300), "train")
    with pytest.raises(UserError, match=r"instances/train/0 mask: expected labels 0\.\.255, got 555"):
        source.load(0)


def test_a_color_file_in_a_feature_of_one_channel_is_refused(tmp_path: Path):
    file = tmp_path / "color.png"
    Image.fromarray(np.full((2, 3, 3), 4, np.uint8)).save(file)
    feature = tfds.features.Image(shape=(2, 3, 1), encoding_format="png")
    source = open_source(build(tmp_path / "sets", "hidden", feature, str(file)), "train")
    with pytest.raises(UserError, match=r"hidden/train/0 mask: expected one channel of class ids, got 3 channels"):
        source.load(0)


def test_sets_without_masks_of_class_ids_are_refused_by_name(tmp_path: Path):
    for name, remedy in (("scene_parse150:1.0.0", "data=ade20k"), ("coco/2017_panoptic", "data=coco_voc")):
        with pytest.raises(UserError, match=f"data.name={name}: .*{remedy}"):
            open_source(DataConfig(source="tfds", name=name, root=str(tmp_path)), "train")
    assert not list(tmp_path.iterdir())


def test_the_masks_of_the_pets_and_of_cityscapes_are_mapped(tmp_path: Path):
    feature = tfds.features.Image(shape=(2, 3, 1), encoding_format="png")
    stored = np.array([[1, 2, 3], [1, 1, 2]], np.uint8)[..., None]
    config = build(tmp_path, "oxford_iiit_pet", feature, stored)
    builder = tfds.builder_from_directory(str(tmp_path / "oxford_iiit_pet/1.0.0"))
    source = source_of_builder(builder, "train", dataclasses.replace(config, classes=None))
    assert source.classes == ("background", "pet")
    assert source.load(0).label.tolist() == [[1, 0, 255], [1, 1, 0]]
    listed = source_of_builder(builder, "train", dataclasses.replace(config, label_ids=(3, 1)))
    assert listed.load(0).label.tolist() == [[1, 255, 0], [1, 1, 255]]
    assert listed.unlisted_values(0).tolist() == [2, 2]
    with pytest.raises(UserError, match=r"data.label_ids=\[3\]: expected 2 values, got 1"):
        source_of_builder(builder, "train", dataclasses.replace(config, label_ids=(3,)))
    config = build(tmp_path / "four", "oxford_iiit_pet", feature, stored + 1)
    builder = tfds.builder_from_directory(str(tmp_path / "four/oxford_iiit_pet/1.0.0"))
    with pytest.raises(UserError, match=r"expected mask values 1\.\.3, got 4"):
        source_of_builder(builder, "train", dataclasses.replace(config, classes=None)).load(0)
    known = module.KNOWN_SETS["cityscapes"]
    # Ids of cityscapesScripts: 0 unlabeled, 7 road, 19 traffic light, 26 car, 33 bicycle, 9 parking.
    assert known.values[[0, 7, 19, 26, 33, 9]].tolist() == [255, 0, 6, 13, 18, 255]
    assert (known.image_feature, known.label_feature) == ("image_left", "segmentation_label")


def test_a_set_that_is_not_prepared_is_not_downloaded_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    retries = [downloader.MAX_RETRIES]

    def offline(*_: object) -> None:
        retries.append(downloader.MAX_RETRIES)
        raise OSError("Failed to resolve the host")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", offline)
    config = DataConfig(source="tfds", name="voc_segmentation", root=str(tmp_path / "sets"))
    with pytest.raises(UserError, match=r"data.name=voc_segmentation: is not prepared in .*; add data.download=true"):
        open_source(config, "train")
    with pytest.raises(UserError, match=r"voc_segmentation: cannot be prepared \(Failed to resolve the host\)"):
        open_source(dataclasses.replace(config, download=True), "train")
    assert not list(tmp_path.iterdir())
    # Few retries in between; TFDS itself has its own number again.
    assert retries[1:] == [4]
    assert downloader.MAX_RETRIES == retries[0] > 4


def test_a_failed_preparation_keeps_complete_downloads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    downloads = tmp_path / "downloads/voc_segmentation"

    def interrupted(*_: object) -> None:
        downloads.mkdir(parents=True)
        (downloads / "whole.tar").write_bytes(b"1")
        (downloads / "whole.tar.INFO").write_text("{}")
        (downloads / "partial.tgz.INFO").write_text("{}")
        (downloads / "partial.tgz.tmp.123").mkdir()
        (downloads / "partial.tgz.tmp.123/part").write_bytes(b"2")
        raise KeyboardInterrupt

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", interrupted)
    config = DataConfig(source="tfds", name="voc_segmentation", root=str(tmp_path), download=True)
    with pytest.raises(KeyboardInterrupt):
        open_source(config, "train")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"whole.tar", "whole.tar.INFO"}
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


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
