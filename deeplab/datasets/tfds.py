"""Data sets of TensorFlow Datasets (TFDS) that have masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.config import DataConfig
from deeplab.datasets import cityscapes
from deeplab.datasets.image_files import read_image, read_mask
from deeplab.datasets.labels import check_label_ids, ids_of_values, lookup_table, map_values, unlisted_values
from deeplab.datasets.source import IGNORE_LABEL, Example, Source, checked_example
from deeplab.datasets.tfds_prepare import prepare
from deeplab.datasets.tfds_records import index_records, read_features
from deeplab.errors import UserError


@dataclass(frozen=True)
class KnownSet:
    """A set whose features or mask values are not the usual ones.

    Attributes:
        image_feature: name of its image feature.
        label_feature: name of its mask feature.
        classes: class names by id.
        values: the class id of each mask value, see `map_values`.
    """

    image_feature: str
    label_feature: str
    classes: tuple[str, ...]
    values: np.ndarray


KNOWN_SETS: Mapping[str, KnownSet] = {
    "cityscapes": KnownSet("image_left", "segmentation_label", cityscapes.CLASSES, cityscapes.LABEL_IDS),
    # 1 is the animal, 2 the background, 3 the border between them (the README of the set's annotations).
    "oxford_iiit_pet": KnownSet(
        "image", "segmentation_mask", ("background", "pet"), lookup_table({1: 1, 2: 0, 3: IGNORE_LABEL})
    ),
}

_INSTEAD = {
    "scene_parse150": ("its masks are instance ids, not the 150 classes", "use data=ade20k data.root=FOLDER"),
    "coco": ("its masks, if any, are segment ids coded as colors", "use data=coco_voc data.root=FOLDER"),
}
"""Sets without masks of class ids: what they have, and what to do."""


def tfds_source(config: DataConfig, split: str) -> Source:
    """Open a split of the data set `config.name`, which is downloaded and prepared if `config.download`.

    `voc_segmentation` is the builder of this project. The split may be a slice in the syntax of TFDS: "train[:80%]".

    Raises:
        UserError: the data set, split or feature does not exist, the set is not prepared, its preparation fails, its
            masks are no class ids, or the class names are unknown.
    """
    import tensorflow_datasets as tfds

    import deeplab.tfds_builders.voc_segmentation  # noqa: F401  registers the builder by its name

    if config.name is None:
        raise UserError("data.name", "a name is required", "for example data=tfds data.name=oxford_iiit_pet")
    subject = f"data.name={config.name}"
    if (set_name := config.name.partition("/")[0].partition(":")[0]) in _INSTEAD:
        raise UserError(subject, *_INSTEAD[set_name])
    try:
        builder = tfds.builder(config.name, data_dir=config.root)
    except Exception as error:  # errors of TFDS and of the builders share no class
        problem = f"cannot be opened ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        raise UserError(subject, problem, "see tensorflow.org/datasets/catalog for names of sets") from None
    _features(builder, config)
    prepare(builder, subject, config.download)
    return source_of_builder(builder, split, config)


def source_of_builder(builder: Any, split: str, config: DataConfig) -> Source:
    """Open a split of a prepared TFDS builder, see `tfds_source`.

    Masks are decoded from the stored files: TFDS would convert palette masks to colors.
    """
    name, features = builder.info.name, builder.info.features
    known = KNOWN_SETS.get(name)
    image_feature, label_feature = _features(builder, config)
    classes = config.classes or tuple(
        getattr(features[label_feature], "names", None) or (known.classes if known else ())
    )
    if not classes:
        raise UserError("data.classes", f"{name} does not name its classes", "give data.classes=[background,...]")
    check_label_ids(config.label_ids, classes)
    try:
        info = builder.info.splits[split]
        shards = [(Path(part.filename), part.skip, part.take) for part in info.file_instructions]
    except (KeyError, ValueError) as error:
        splits = ", ".join(sorted(builder.info.splits)) or "none"
        remedy = f"splits: {splits} (data.train_split, data.val_split)"
        raise UserError(f"split {split}", f"not in {name} ({error})", remedy) from None
    records = [record for shard in shards for record in index_records(*shard)]
    if len(records) != info.num_examples:
        problem = f"{split}: expected {info.num_examples} examples, got {len(records)}"
        raise UserError(str(builder.data_path), problem, "delete the folder to prepare the data set again")
    name_feature = [feature for feature in ("name", "file_name", "image_id") if feature in features][:1]
    required = (image_feature, label_feature, *name_feature)

    def load(index: int) -> Example:
        image, mask, *own_name = read_features(records[index], required)
        title = f"{name}/{split}/{own_name[0].decode(errors='replace') if own_name else index}"
        values = read_mask(mask, f"{title} mask")
        if known and config.label_ids is None:
            label = map_values(values, known.values, f"{title} mask")
        else:
            label = ids_of_values(values, config.label_ids)
        return checked_example(read_image(image, title), label, classes, title, f"{title} mask")

    def read_unlisted(index: int) -> np.ndarray:
        values = read_mask(read_features(records[index], [label_feature])[0], f"{name}/{split}/{index} mask")
        return unlisted_values(values, config.label_ids or ())

    files = tuple(sorted({path for path, *_ in shards}))
    unlisted = read_unlisted if config.label_ids else None
    return Source(f"{name}/{split}", classes, len(records), load, files=files, unlisted_values=unlisted)


def _features(builder: Any, config: DataConfig) -> tuple[str, str]:
    """Return the names of the image feature and the mask feature.

    Raises:
        UserError: a feature is missing or no image, or the mask feature has several channels or no integers.
    """
    import tensorflow_datasets as tfds

    name, features = builder.info.name, builder.info.features
    known = KNOWN_SETS.get(name)
    image_feature = config.image_feature or (known.image_feature if known else "image")
    label_feature = config.label_feature or (known.label_feature if known else "segmentation_mask")
    for key, feature in (("image_feature", image_feature), ("label_feature", label_feature)):
        available = f"features: {', '.join(features)} (data.{key})"
        if feature not in features:
            raise UserError(f"feature {feature}", f"not in {name}", available)
        if not isinstance(features[feature], tfds.features.Image):
            problem = f"expected an image, {name} has {type(features[feature]).__name__}"
            raise UserError(f"feature {feature}", problem, available)
    mask = features[label_feature]
    if mask.shape[-1] != 1:
        problem = f"expected one channel of class ids, {name} has {mask.shape[-1]} channels"
        remedy = "colors and instance ids are no class ids: save class ids as PNG files and use data=folder"
        raise UserError(f"feature {label_feature}", problem, remedy)
    if not np.issubdtype(mask.np_dtype, np.integer):
        problem = f"expected integers, {name} has {np.dtype(mask.np_dtype).name}"
        raise UserError(f"feature {label_feature}", problem, "save class ids as PNG files and use data=folder")
    return image_feature, label_feature
