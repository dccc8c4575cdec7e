"""Data sets of TensorFlow Datasets (TFDS) that have masks."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from deeplab.config import DataConfig
from deeplab.datasets.image_files import read_image, read_mask
from deeplab.datasets.labels import check_label_ids, ids_of_values
from deeplab.datasets.source import Example, Source, checked_example
from deeplab.errors import UserError

_REMEDY = "delete its folder to prepare the data set again"


def tfds_source(config: DataConfig, split: str) -> Source:
    """Open a split of the data set `config.name`, which TFDS downloads and prepares if necessary.

    `voc_segmentation` is the builder of this project. The split may be a slice in the syntax of TFDS: "train[:80%]".

    Raises:
        UserError: the data set, split or feature does not exist, the preparation fails, or the class names are unknown.
    """
    import tensorflow_datasets as tfds

    import deeplab.tfds_builders.voc_segmentation  # noqa: F401  registers the builder by its name

    if config.name is None:
        raise UserError("data.name", "a name is required", "for example data=tfds data.name=oxford_iiit_pet")
    try:
        builder = tfds.builder(config.name, data_dir=config.root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder.download_and_prepare()
    except UserError:
        raise
    except Exception as error:  # errors of TFDS, the network, the manual folder and the disk share no class
        problem = f"cannot be prepared ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        remedy = "see tensorflow.org/datasets/catalog; data.root is the folder of prepared data sets"
        raise UserError(f"data.name={config.name}", problem, remedy) from None
    return source_of_builder(builder, split, config)


def source_of_builder(builder: Any, split: str, config: DataConfig) -> Source:
    """Open a split of a prepared TFDS builder, see `tfds_source`.

    Masks are decoded from the stored files: TFDS would convert palette masks to colors.
    """
    name, features = builder.info.name, builder.info.features
    for feature in (config.image_feature, config.label_feature):
        if feature not in features:
            raise UserError(f"feature {feature}", f"not in {name}", f"features: {', '.join(features)}")
    classes = config.classes or tuple(getattr(features[config.label_feature], "names", None) or ())
    if not classes:
        raise UserError("data.classes", f"{name} does not name its classes", "give data.classes=[background,...]")
    check_label_ids(config.label_ids, classes)
    try:
        info = builder.info.splits[split]
        shards = [(Path(part.filename), part.skip, part.take) for part in info.file_instructions]
    except (KeyError, ValueError) as error:
        known = ", ".join(sorted(builder.info.splits)) or "none"
        raise UserError(f"split {split}", f"not in {name} ({error})", f"splits: {known}") from None
    records = [record for shard in shards for record in index_records(*shard)]
    if len(records) != info.num_examples:
        problem = f"{split}: expected {info.num_examples} examples, got {len(records)}"
        raise UserError(str(builder.data_path), problem, "delete the folder to prepare the data set again")
    name_feature = [feature for feature in ("name", "file_name", "image_id") if feature in features][:1]
    required = (config.image_feature, config.label_feature, *name_feature)

    def load(index: int) -> Example:
        image, mask, *own_name = read_features(records[index], required)
        title = f"{name}/{split}/{own_name[0].decode(errors='replace') if own_name else index}"
        label = ids_of_values(_decode_label(mask, f"{title} mask"), config.label_ids)
        return checked_example(read_image(image, title), label, classes, title, f"{title} mask")

    files = tuple(sorted({path for path, *_ in shards}))
    return Source(f"{name}/{split}", classes, len(records), load, files=files)


def _decode_label(mask: bytes, name: str) -> np.ndarray:
    """Decode a mask `[h, w]` uint8. If it has several channels, the first is taken."""
    try:
        return read_mask(mask, name)
    except UserError:
        return read_image(mask, name)[..., 0]


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
