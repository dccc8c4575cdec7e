"""Random access to TFRecord files whose records are tf.train.Examples with encoded pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from deeplab.errors import UserError

_HEADER, _FOOTER = 12, 4
"""Bytes around a record: its length and the check sum of that; the check sum of the record."""


@dataclass(frozen=True)
class Record:
    """Where a record lies: `length` bytes at `offset` of the file `path`."""

    path: Path
    offset: int
    length: int


def index_records(path: Path, skip: int = 0, take: int = -1) -> list[Record]:
    """The records of a file in order, without the first `skip` and not more than `take` (-1: all).

    Raises:
        UserError: missing or cut off.
    """
    records: list[Record] = []
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                file.seek(offset)
                length = int.from_bytes(file.read(8), "little")
                if offset + _HEADER + length + _FOOTER > size:
                    raise UserError(str(path), f"is cut off at byte {size}", "delete its folder, to prepare it again")
                records.append(Record(path, offset + _HEADER, length))
                offset += _HEADER + length + _FOOTER
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error})", "delete its folder, to prepare it again") from None
    return records[skip : None if take < 0 else skip + take]


def read_features(record: Record, names: Sequence[str]) -> list[bytes]:
    """The values of the features `names` of a record, each one string of bytes.

    Raises:
        UserError: unreadable, or a feature is missing or no string of bytes.
    """
    try:
        descriptor = os.open(record.path, os.O_RDONLY)
        try:
            content = os.pread(descriptor, record.length, record.offset)
        finally:
            os.close(descriptor)
        features = tf.train.Example.FromString(content).features.feature
    except Exception as error:  # protobuf's DecodeError has no public name that lasts
        raise UserError(
            str(record.path), f"record at byte {record.offset} is broken ({error})", "prepare it again"
        ) from None
    values: list[bytes] = []
    for name in names:
        value = list(features[name].bytes_list.value) if name in features else []
        if len(value) != 1:
            known = ", ".join(sorted(features))
            raise UserError(f"feature {name}", f"no encoded picture in {record.path.name}", f"features: {known}")
        values.append(value[0])
    return values
