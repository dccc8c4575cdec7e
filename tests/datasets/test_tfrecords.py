from pathlib import Path

import pytest
import tensorflow as tf

from deeplab.datasets.tfrecords import index_records, read_features
from deeplab.errors import UserError

NAMES = [b"a", b"bb", b"ccc", b"dddd"]


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
