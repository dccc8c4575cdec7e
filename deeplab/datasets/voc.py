"""PASCAL VOC segmentation in the layout of the devkit, optionally with the masks of the Semantic Boundaries Dataset."""

import re
from pathlib import Path

import numpy as np

from deeplab.datasets.image_files import (
    pair_source,
    read_list,
    read_mask,
    required_folder,
    required_root,
    shorten,
)
from deeplab.datasets.source import ExampleError, Source
from deeplab.errors import UserError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Class names by id, in the spelling of the devkit."""

YEAR = "VOC2012"
"""Folder of the year in a VOCdevkit."""

TRAIN_AUG = "train_aug"
"""The split with the training images of VOC and all images of SBD except the validation images of VOC."""


def voc_source(
    root: str | Path,
    split: str,
    name: str = YEAR,
    classes: tuple[str, ...] = CLASSES,
    sbd: str | Path | None = None,
) -> Source:
    """Open a split of a VOCdevkit: JPEG images and palette PNG masks.

    Args:
        root: the VOCdevkit folder, or the folder of the year in it.
        split: name of a list in ImageSets/Segmentation (train, val, trainval or another), or "train_aug".
        name: folder of the year in `root`.
        classes: class names by id, for other data in this layout.
        sbd: folder of the Semantic Boundaries Dataset, for "train_aug"; see `sbd_masks`.

    Raises:
        UserError: a folder or the list is missing. Damaged files are reported when loaded.
    """
    pairs = split_files(devkit_year(Path(root), name), split, None if sbd is None else Path(sbd))
    return pair_source(f"{name}/{split}", classes, pairs, lambda _, mask: read_any_mask(mask))


def published_split(root: str | Path, name: str = YEAR, sbd: str | Path | None = None) -> str:
    """Return "train_aug", the split of the published figures, if `sbd_masks` finds masks, else "train".

    Arguments are those of `voc_source`.

    Raises:
        UserError: a folder is missing, or `sbd` has no masks.
    """
    folder = devkit_year(Path(root), name)
    try:
        sbd_masks(folder, None if sbd is None else Path(sbd))
    except UserError:
        if sbd is not None:
            raise
        return "train"
    return TRAIN_AUG


def devkit_year(root: Path, name: str) -> Path:
    """Return the folder with ImageSets, JPEGImages and SegmentationClass: `root` itself, or its sub-folder `name`.

    Raises:
        UserError: a folder is missing.
    """
    root = required_root(root, "the VOCdevkit folder")
    folder = root if (root / "ImageSets").is_dir() else root / name
    required_folder(folder, f"a VOCdevkit contains {name}")
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        required_folder(folder / part, "part of a VOCdevkit with segmentation")
    return folder


def split_files(folder: Path, split: str, sbd: Path | None = None) -> list[tuple[Path, Path]]:
    """Return (image, mask) of each example of a split, given the folder of a year.

    The split "train_aug" is the list of that name if it exists, else the training images of VOC and all images of SBD
    except the validation images of VOC. The mask of VOC takes precedence over the mask of SBD.

    Raises:
        UserError: the list is missing, or masks of SBD are required and missing.
    """
    list_file = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if split != TRAIN_AUG:
        names = _names(list_file)
        masks = {name: folder / "SegmentationClass" / f"{name}.png" for name in names}
    else:
        masks = sbd_masks(folder, sbd)
        train, val = (list_file.with_name(name) for name in ("train.txt", "val.txt"))
        names = _names(list_file) if list_file.is_file() else sorted({*_names(train), *masks} - {*_names(val)})
        masks |= {path.stem: path for path in (folder / "SegmentationClass").glob("*.png")}
    missing = [name for name in names if name not in masks]
    if missing:
        problem = f"no mask for {len(missing)} of {len(names)} images: {shorten(missing, 3)}"
        raise UserError(f"split {TRAIN_AUG}", problem, "complete SBD, or set data.train_split=train")
    return [(folder / "JPEGImages" / f"{name}.jpg", masks[name]) for name in names]


def sbd_masks(folder: Path, sbd: Path | None) -> dict[str, Path]:
    """Map the image names of SBD to its masks.

    The masks are the `cls/*.mat` of the original data set (in `sbd`, `sbd/dataset` or `sbd/benchmark_RELEASE/dataset`),
    or PNG files in `sbd`. If `sbd` is None, they are in SegmentationClassAug in the folder of the year.

    Raises:
        UserError: there are no masks.
    """
    base = folder / "SegmentationClassAug" if sbd is None else required_folder(sbd, "data.sbd")
    for masks in (base, base / "cls", base / "dataset/cls", base / "benchmark_RELEASE/dataset/cls"):
        files = {path.stem: path for path in masks.glob("*.*") if path.suffix in (".png", ".mat")}
        if files:
            return files
    problem = f"no masks of the Semantic Boundaries Dataset in {base}"
    raise UserError(f"split {TRAIN_AUG}", problem, "set data.sbd to the folder with cls/*.mat, or with PNG masks")


def read_any_mask(path: Path) -> np.ndarray:
    """Read ids `[h, w]` uint8 from a PNG mask or a .mat file of SBD (struct GTcls); raise UserError if unreadable."""
    if path.suffix != ".mat":
        return read_mask(path)
    try:
        from scipy.io import loadmat

        content = loadmat(str(path), squeeze_me=True, struct_as_record=False)
        return np.ascontiguousarray(content["GTcls"].Segmentation, np.uint8)
    except ImportError:
        raise UserError(str(path), "reading .mat files needs scipy", "pip install scipy, or give SBD as PNG") from None
    except Exception as error:  # scipy raises various exceptions if the file is not a MATLAB file
        remedy = "restore it, or remove it from the list"
        raise ExampleError("unreadable", str(path), f"cannot be read ({error})", remedy) from None


def _names(list_file: Path) -> list[str]:
    # Lists of the detection task have a second column with 1, 0 or -1; names may contain spaces.
    return [re.sub(r"\s+(-1|0|1)$", "", line) for line in read_list(list_file)]
