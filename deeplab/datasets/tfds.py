"""Data sets of TensorFlow Datasets (TFDS) that have masks."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.config import DataConfig
from deeplab.datasets.image_files import decode_image, decode_mask
from deeplab.datasets.labels import check_label_ids, ids_of_values
from deeplab.datasets.source import Example, Source, checked_example
from deeplab.datasets.tfrecords import index_records, read_features
from deeplab.errors import UserError


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
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"data.name={config.name}",
            f"cannot be prepared ({first_line})",
            "see tensorflow.org/datasets/catalog; data.root is the folder of prepared data sets",
        ) from None
    return source_of_builder(builder, split, config)


def source_of_builder(builder: Any, split: str, config: DataConfig) -> Source:
    """Open a split of a prepared TFDS builder, see `tfds_source`.

    Images and masks are decoded from the stored files, so that the masks keep their ids. TFDS would convert palette
    masks to colors.
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

    def load(index: int) -> Example:
        image, mask, *own_name = read_features(
            records[index], (config.image_feature, config.label_feature, *name_feature)
        )
        title = f"{name}/{split}/{own_name[0].decode(errors='replace') if own_name else index}"
        label = _decode_label(io.BytesIO(mask), f"{title} mask")
        if config.label_ids is not None:
            label = ids_of_values(label, config.label_ids)
        return checked_example(decode_image(io.BytesIO(image), title), label, classes, title, f"{title} mask")

    files = tuple(sorted({path for path, *_ in shards}))
    return Source(f"{name}/{split}", classes, len(records), load, files=files)


def _decode_label(file: io.BytesIO, name: str) -> np.ndarray:
    """Decode a mask `[h, w]` uint8. If it has several channels, the first is taken."""
    try:
        return decode_mask(file, name)
    except UserError:
        file.seek(0)
        return decode_image(file, name)[..., 0]
