"""Random access to the encoded images in TFRecord files of tf.train.Examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from deeplab.errors import UserError

_HEADER, _FOOTER = 12, 4
"""Bytes before and after a record: its length with a checksum, and the checksum of the record."""

_REMEDY = "delete its folder to prepare the data set again"


@dataclass(frozen=True)
class Record:
    """The position of a record: `length` bytes at `offset` of the file `path`."""

    path: Path
    offset: int
    length: int


def index_records(path: Path, skip: int = 0, take: int | None = None) -> list[Record]:
    """Return the records of a file in order, without the first `skip`, and at most `take` of them.

    Raises:
        UserError: the file is missing or truncated.
    """
    records: list[Record] = []
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                file.seek(offset)
                length = int.from_bytes(file.read(8), "little")
                records.append(Record(path, offset + _HEADER, length))
                offset += _HEADER + length + _FOOTER
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
    values: list[bytes] = []
    for name in names:
        value = list(features[name].bytes_list.value) if name in features else []
        if len(value) != 1:
            known = ", ".join(sorted(features))
            raise UserError(f"feature {name}", f"no encoded image in {record.path.name}", f"features: {known}")
        values.append(value[0])
    return values
