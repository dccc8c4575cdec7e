"""Sets of TensorFlow Datasets that carry masks, and PASCAL VOC prepared as one of them."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.config import DataConfig
from deeplab.datasets.image_files import decode_image, decode_mask
from deeplab.datasets.labels import checked_label_ids, ids_of_values
from deeplab.datasets.source import Example, Source, checked_example
from deeplab.datasets.tfrecords import index_records, read_features
from deeplab.errors import UserError


def tfds_source(config: DataConfig, split: str) -> Source:
    """A split of the set `config.name`, which is downloaded and prepared where it is not there yet.

    Pictures and masks are decoded from what TFDS stored, so a palette keeps its ids; of a mask with several channels
    the first is taken. The split may be cut as TFDS does it: "train[:80%]".

    Raises:
        UserError: no such set, split or feature, it cannot be prepared, or the names of the classes are not known.
    """
    import tensorflow_datasets as tfds

    if config.name is None:
        raise UserError("data.name", "the name of a set is needed", "data=tfds data.name=oxford_iiit_pet")
    try:
        builder = tfds.builder(config.name, data_dir=config.root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder.download_and_prepare()
    except Exception as error:  # TFDS raises its own, those of the network, of the manual folder and of the disk
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"data.name={config.name}",
            f"cannot be prepared ({first_line})",
            "see tensorflow.org/datasets/catalog; data.root is the folder of prepared sets",
        ) from None
    return source_of_builder(builder, split, config)


def source_of_builder(builder: Any, split: str, config: DataConfig) -> Source:
    """A split of a prepared TFDS builder, as `tfds_source`."""
    name = builder.info.name
    for feature in (config.image_feature, config.label_feature):
        if feature not in builder.info.features:
            known = ", ".join(builder.info.features)
            raise UserError(f"feature {feature}", f"{name} has none of that name", f"it has {known}")
    classes = config.classes or tuple(getattr(builder.info.features[config.label_feature], "names", None) or ())
    if not classes:
        raise UserError("data.classes", f"{name} does not name its classes", "data.classes=[background,...]")
    checked_label_ids(config.label_ids, classes)
    try:
        parts = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        known = ", ".join(sorted(builder.info.splits)) or "none"
        raise UserError(f"split {split}", f"{name} has none ({error})", f"splits: {known}") from None
    records = [
        record
        for part in parts
        for record in index_records(Path(part.filename), part.skip, -1 if part.take is None else part.take)
    ]
    expected = builder.info.splits[split].num_examples
    if len(records) != expected:
        folder = builder.data_path
        raise UserError(
            str(folder), f"{split} has {len(records)} of {expected} examples", "delete it, to prepare it anew"
        )
    titled = [feature for feature in ("name", "file_name", "image_id") if feature in builder.info.features][:1]

    def load(index: int) -> Example:
        image, mask, *title = read_features(records[index], (config.image_feature, config.label_feature, *titled))
        where = f"{name}/{split}/{title[0].decode(errors='replace') if title else index}"
        label = _first_channel(io.BytesIO(mask), f"{where} mask")
        if config.label_ids is not None:
            label = ids_of_values(label, config.label_ids)
        return checked_example(decode_image(io.BytesIO(image), where), label, classes, where, f"{where} mask")

    files = tuple(sorted({Path(part.filename) for part in parts}))
    return Source(f"{name}/{split}", classes, len(records), load, files=files)


def _first_channel(file: io.BytesIO, name: str) -> np.ndarray:
    try:
        return decode_mask(file, name)
    except UserError:
        file.seek(0)
        return decode_image(file, name)[..., 0]
