"""COCO 2017 with the 20 classes of PASCAL VOC, from its instance or panoptic annotations."""

import os
from pathlib import Path

import numpy as np

from deeplab.datasets.coco_annotations import MIN_PIXELS, draw_instances, panoptic_ids, read_instances, read_panoptic
from deeplab.datasets.image_files import pair_source, read_rgb, required_folder, required_root, shorten
from deeplab.datasets.source import Source
from deeplab.datasets.voc import CLASSES
from deeplab.errors import UserError


def coco_voc_source(root: str | Path, split: str, annotations: str = "instances") -> Source:
    """Open a split of COCO with background and the 20 classes of VOC; all other categories are background.

    The split "train" leaves out images in which objects of the 20 classes, crowds excepted, have at most `MIN_PIXELS`
    pixels in total; other splits have every image. Ignored are crowds of the 20 classes, pixels of several instances
    (as in torchvision, coco_utils.py), and with panoptic annotations the pixels without a segment.

    Args:
        root: the folder with train2017, val2017 (or images/train2017, ...) and annotations.
        split: train, val, or the name of an image folder (train2017).
        annotations: instances (annotations/instances_SPLIT.json, drawn by pycocotools) or panoptic
            (annotations/panoptic_SPLIT.json and the PNG files in annotations/panoptic_SPLIT).

    Raises:
        UserError: a folder or file is missing or damaged. Damaged images and masks are reported when loaded.
    """
    root = required_root(root, "the folder with train2017, val2017 and annotations")
    if annotations not in ("instances", "panoptic"):
        raise UserError(f"data.name={annotations}", "unknown annotations", "use instances or panoptic")
    folder_name = f"{split}2017" if split in ("train", "val") else split
    nested = root / "images" / folder_name
    images = nested if nested.is_dir() else required_folder(root / folder_name, "it holds the images")
    file = required_folder(root / "annotations", "it holds the JSON files") / f"{annotations}_{folder_name}.json"
    records = (read_instances if annotations == "instances" else read_panoptic)(file)
    if split == "train":
        records = tuple(record for record in records if record.labeled_pixels > MIN_PIXELS)
    if not records:
        raise UserError(str(file), "no image with objects of the 20 classes", "check the file")
    _check_files(images, [record.file_name for record in records], file, split)
    by_image = {record.file_name: record for record in records}
    if annotations == "instances":
        pairs = [(images / record.file_name, file) for record in records]
    else:
        masks = required_folder(file.with_suffix(""), "it holds the panoptic PNG files: extract the .zip file there")
        _check_files(masks, [record.mask_name for record in records], file, split)
        pairs = [(images / record.file_name, masks / record.mask_name) for record in records]

    def read_label(image: Path, mask: Path) -> np.ndarray:
        record = by_image[image.name]
        return draw_instances(record, mask) if mask == file else panoptic_ids(read_rgb(mask), record, mask)

    # The annotations show the stored pixels.
    return pair_source(f"coco_voc/{split}", CLASSES, pairs, read_label, oriented=False)


def _check_files(folder: Path, names: list[str], listed_in: Path, split: str) -> None:
    """Raise UserError if a folder lacks files that the annotation file lists."""
    present = set(os.listdir(folder))
    absent = [name or "the mask of an image" for name in names if name not in present]
    if absent:
        problem = f"{len(absent)} of {len(names)} files of split {split} are missing: {shorten(absent, 3)}"
        raise UserError(str(folder), problem, f"complete the folder; {listed_in.name} names them")
