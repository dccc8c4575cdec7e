"""Random access to the records of the files that TensorFlow Datasets (TFDS) prepares."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from deeplab.errors import UserError

_REMEDY = "delete its folder to prepare the data set again"


class Record(NamedTuple):
    """The position of a record: `length` bytes at `offset` of the file `path`."""

    path: Path
    offset: int
    length: int


def index_records(path: Path, skip: int = 0, take: int | None = None) -> list[Record]:
    """Return at most `take` records of a file after the first `skip`; raise UserError if it is missing or truncated."""
    records: list[Record] = []
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                file.seek(offset)
                length = int.from_bytes(file.read(8), "little")
                # The length and its checksum have 12 bytes; the checksum of the record after it has 4.
                records.append(Record(path, offset + 12, length))
                offset += 12 + length + 4
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error})", _REMEDY) from None
    if offset > size:
        raise UserError(str(path), f"is truncated at byte {size}", _REMEDY)
    return records[skip : None if take is None else skip + take]


def read_features(record: Record, names: Sequence[str]) -> list[bytes]:
    """Return the features `names` of a record, each a single byte string.

    Raises:
        UserError: the record is damaged, or a feature is missing or not a single byte string.
    """
    try:
        with record.path.open("rb", buffering=0) as file:
            file.seek(record.offset)
            features = tf.train.Example.FromString(file.read(record.length)).features.feature
    except Exception as error:  # protobuf does not export its DecodeError publicly
        raise UserError(str(record.path), f"record at byte {record.offset} is damaged ({error})", _REMEDY) from None
    values = []
    for name in names:
        value = list(features[name].bytes_list.value) if name in features else []
        if len(value) != 1:
            known = ", ".join(sorted(features))
            raise UserError(f"feature {name}", f"no encoded image in {record.path.name}", f"features: {known}")
        values.append(value[0])
    return values
