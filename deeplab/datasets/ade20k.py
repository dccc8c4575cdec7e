"""The scene parsing benchmark of ADE20K (ADEChallengeData2016) in its original layout."""

from pathlib import Path

from deeplab.config.class_names import check_class_names
from deeplab.datasets.file_tree import read_tree
from deeplab.datasets.image_files import (
    IMAGE_SUFFIXES,
    missing_masks,
    pair_source,
    read_list,
    read_mask,
    required_folder,
    required_root,
    shorten,
)
from deeplab.datasets.labels import lookup_table, map_values
from deeplab.datasets.source import IGNORE_LABEL, Source
from deeplab.errors import UserError

CLASS_COUNT = 150

_FOLDERS = {"train": "training", "val": "validation"}
_VALUES = lookup_table({0: IGNORE_LABEL} | {value: value - 1 for value in range(1, CLASS_COUNT + 1)})
"""The class id of each mask value: 0 is "other", 1..150 are the classes (sceneparsing, README.md)."""


def ade20k_source(root: str | Path, split: str) -> Source:
    """Open a split of ADEChallengeData2016: 150 classes, without a background; mask value 0 is ignored.

    Args:
        root: the folder with images, annotations and objectInfo150.txt, or the folder above it.
        split: train (training), val (validation), or the name of another sub-folder.

    Raises:
        UserError: a folder, a mask or the list of classes is missing. Damaged files are reported when loaded.
    """
    root = required_root(root, "the folder ADEChallengeData2016")
    root = root / "ADEChallengeData2016" if (root / "ADEChallengeData2016").is_dir() else root
    folder = _FOLDERS.get(split, split)
    images = required_folder(required_folder(root / "images", "it holds the images") / folder, f"split {split}")
    masks = required_folder(required_folder(root / "annotations", "it holds the masks") / folder, f"split {split}")
    classes = read_classes(root / "objectInfo150.txt")
    image_tree, mask_files = read_tree(images, IMAGE_SUFFIXES), read_tree(masks, (".png",)).files
    if not image_tree.files:
        raise UserError(str(images), "no images", "expected NAME.jpg")
    if image_tree.others:
        problem = f"{len(image_tree.others)} unexpected files: {shorten(image_tree.others, 3)}"
        raise UserError(str(images), problem, "remove them")
    missing = [name for name in image_tree.files if name not in mask_files]
    if missing:
        raise missing_masks(masks, missing, len(image_tree.files), split, "expected NAME.png for NAME.jpg")
    pairs = [(path, mask_files[name]) for name, path in image_tree.files.items()]

    # The masks show the stored pixels: the tools of the benchmark apply no EXIF orientation.
    return pair_source(
        f"ade20k/{split}",
        classes,
        pairs,
        lambda _, mask: map_values(read_mask(mask), _VALUES, str(mask)),
        oriented=False,
    )


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the names of the 150 classes: the first synonym of each line of objectInfo150.txt.

    A first synonym that occurs twice ("screen") is replaced by the whole list of synonyms.

    Raises:
        UserError: the file is missing, or does not have the columns Idx, ..., Name and the indices 1..150.
    """
    header, *lines = (line.split("\t") for line in read_list(path))
    indices = [line[0].strip() for line in lines]
    if header[0] != "Idx" or header[-1] != "Name" or indices != [str(i + 1) for i in range(CLASS_COUNT)]:
        problem = f"expected the columns Idx, ..., Name and a line for each of {CLASS_COUNT} classes"
        raise UserError(str(path), problem, "restore the file of ADEChallengeData2016")
    synonyms = [line[-1].strip() for line in lines]
    first = [text.partition(",")[0].strip() for text in synonyms]
    names = [name if first.count(name) == 1 else text for name, text in zip(first, synonyms, strict=True)]
    return check_class_names(names, str(path))
