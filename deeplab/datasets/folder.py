"""A folder with images/ and masks/ as a data source."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deeplab.config import DataConfig
from deeplab.config.class_names import check_class_names
from deeplab.datasets.file_tree import FileTree, read_tree
from deeplab.datasets.image_files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    missing_masks,
    pair_source,
    read_image,
    read_list,
    read_mask,
    required_folder,
    required_root,
    shorten,
)
from deeplab.datasets.labels import (
    ColorTable,
    check_label_ids,
    ids_of_colors,
    ids_of_values,
    read_colors,
    unlisted_values,
)
from deeplab.datasets.source import Source
from deeplab.errors import UserError

ALL = "all"
"""The split with every image of a folder."""


def folder_source(root: str | Path, split: str, config: DataConfig) -> Source:
    """Open a split of a folder with `images` and `masks`, whose files share their names (plus `mask_suffix`).

    The split consists of the names in `root`/SPLIT.txt, else of the sub-folders images/SPLIT and masks/SPLIT, else of a
    seeded selection: `val_fraction` of the images are the split "val", the others "train". The split "all" has every
    image. A file in a sub-folder has the name SUBFOLDER/NAME.

    Masks hold class ids (8-bit gray or palette PNG), other values with `label_ids`, or colors with `colors`. The class
    names are `config.classes`, else those of the color table, else the lines of `root`/classes.txt.

    Raises:
        UserError: a folder, a list, the class names or a mask is missing, or images belong to no split. Damaged files
            are reported when loaded.
    """
    root = required_root(root, "the folder with images and masks")
    _check_is_parent(root)
    images = required_folder(root / "images", "it holds the images")
    masks = required_folder(root / "masks", "it holds a mask for each image")
    table = read_colors(Path(config.colors)) if config.colors else None
    classes = _class_names(root, config, table)
    check_label_ids(config.label_ids, classes)
    if (images / split).is_dir():
        _check_no_loose_images(images, split)
        images, masks = images / split, required_folder(masks / split, "it holds the masks of the split")
    image_tree, mask_tree = read_tree(images, IMAGE_SUFFIXES), read_tree(masks, MASK_SUFFIXES)
    if not image_tree.files:
        other = f" ({shorten(image_tree.others, 3)})" if image_tree.others else ""
        raise UserError(str(images), f"no images{other}", f"add files with the suffix {', '.join(IMAGE_SUFFIXES)}")
    names, is_all = _names_of_split(root, images, split, image_tree, config)
    _check_masks(names, mask_tree, masks, split, config.mask_suffix)

    def read_values(mask: Path) -> np.ndarray:
        return read_mask(mask) if table is None else ids_of_colors(read_image(mask), table, str(mask))

    def read_label(_: Path, mask: Path) -> np.ndarray:
        return ids_of_values(read_values(mask), config.label_ids)

    pairs = [(image_tree.files[name], mask_tree.files[name + config.mask_suffix]) for name in names]
    source = pair_source(f"{root.name}/{split}", classes, pairs, read_label)
    unused = [*(f"images/{name}" for name in image_tree.others), *(f"masks/{name}" for name in mask_tree.others)]
    if is_all:
        used = {name + config.mask_suffix for name in image_tree.files}
        unused += [f"masks/{path.relative_to(masks)}" for name, path in mask_tree.files.items() if name not in used]
    source = dataclasses.replace(source, unused=tuple(unused))
    if (label_ids := config.label_ids) is None:
        return source
    return dataclasses.replace(source, unlisted_values=lambda i: unlisted_values(read_values(pairs[i][1]), label_ids))


def _check_is_parent(root: Path) -> None:
    """Raise UserError if `root` is the folder images or masks itself, or one in it."""
    if (root / "images").is_dir() or (root / "masks").is_dir():
        return
    # Absolute, because root may be "." or "images". Not resolved: images may be a link to a folder elsewhere.
    for parent in Path(os.path.abspath(root)).parents[:2]:
        if (parent / "images").is_dir() and (parent / "masks").is_dir():
            problem = "no folder images in it; data.root is the folder that contains images/ and masks/"
            raise UserError(str(root), problem, f"did you mean {parent}?")


def split_names(names: Iterable[str], val_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Divide at least two names into (training, validation), with at least one name each.

    The names are ranked by a hash. Adding a few images therefore moves hardly any existing image to the other split.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    count = min(max(round(len(ranked) * val_fraction), 1), len(ranked) - 1)
    return sorted(ranked[count:]), sorted(ranked[:count])


def _class_names(root: Path, config: DataConfig, table: ColorTable | None) -> tuple[str, ...]:
    classes, file = config.classes or (table.classes if table else None), root / "classes.txt"
    if classes and table and len(classes) != len(table.classes):
        problem = f"{len(classes)} names for {len(table.classes)} colors"
        raise UserError("data.classes", problem, "remove the key: the color table names the classes")
    if classes:
        return classes
    if file.is_file():
        return check_class_names(read_list(file, keep_empty=True), str(file))
    remedy = f"give data.classes=[background,...], a file {file} with one name per line, or data.colors=FILE.yaml"
    raise UserError("data.classes", "the class names are unknown", remedy)


def _names_of_split(root: Path, images: Path, split: str, tree: FileTree, config: DataConfig) -> tuple[list[str], bool]:
    """Return the names of the images of a split, and whether all images of the folder belong to this or the other."""
    list_file = root / f"{split}.txt"
    if list_file.is_file():
        return _listed_names(list_file, images, tree), False
    split_has_folder = images != root / "images"
    if split_has_folder or split == ALL:
        return sorted(tree.files), True
    if split not in ("train", "val") or split not in (config.train_split, config.val_split):
        problem = f"neither {list_file} nor {images / split} exists"
        raise UserError(f"split {split}", problem, "without them there are train and val, divided by data.val_fraction")
    other = "val" if split == "train" else "train"
    defined = [path for path in (root / f"{other}.txt", images / other) if path.exists()]
    if defined:
        problem = f"neither {list_file} nor {images / split} exists, but {defined[0]} does"
        raise UserError(f"split {split}", problem, "define both splits, or neither")
    if tree.folders:
        problem = f"images in the sub-folders {shorten(tree.folders, 3)}, which belong to no split"
        remedy = "set data.train_split and data.val_split to sub-folders, or list the images in train.txt and val.txt"
        raise UserError(str(images), problem, remedy)
    if len(tree.files) < 2:
        raise UserError(str(images), "one image cannot be divided into training and validation", "add images")
    training, validation = split_names(tree.files, config.val_fraction, config.split_seed)
    return training if split == "train" else validation, True


def _listed_names(list_file: Path, images: Path, tree: FileTree) -> list[str]:
    """Return the names in a list file, which holds names or paths, with or without suffix; other columns are ignored.

    Raises:
        UserError: the list names a file that does not exist, or the same file twice.
    """
    by_last_part = {name.rpartition("/")[2]: name for name in tree.files}
    ambiguous = len(by_last_part) < len(tree.files)

    def find(text: str) -> str | None:
        path = Path(text.replace("\\", "/"))
        path = path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
        parts = path.parts
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            if name in tree.files:
                return name
        return None if ambiguous else by_last_part.get(path.name)

    # A name may contain spaces; if the whole line is no name, the first column is.
    lines = read_list(list_file)
    names = [find(line) or find(line.split()[0]) for line in lines]
    missing = [line for line, name in zip(lines, names, strict=True) if name is None]
    if missing:
        problem = f"names {shorten(missing, 3)}, not in {images} ({len(missing)} of {len(lines)} lines)"
        raise UserError(str(list_file), problem, "correct the list")
    found = [name for name in names if name is not None]
    if len(set(found)) < len(found):
        repeated = next(name for i, name in enumerate(found) if name in found[:i])
        raise UserError(str(list_file), f"names {repeated} twice", "remove one of the lines")
    return found


def _check_no_loose_images(images: Path, split: str) -> None:
    """Raise UserError if images lie next to the sub-folder of the split."""
    suffixes = IMAGE_SUFFIXES
    loose = [p.name for p in images.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    if loose:
        problem = f"{len(loose)} images next to the folder {split} belong to no split: {shorten(sorted(loose), 3)}"
        raise UserError(str(images), problem, f"move them to images/{split} or remove them")


def _check_masks(names: list[str], tree: FileTree, folder: Path, split: str, suffix: str) -> None:
    """Raise UserError if a mask is missing; the remedy depends on the files that exist instead."""
    missing = [name for name in names if name + suffix not in tree.files]
    if not missing:
        return
    remedy = (
        f"name each mask like its image, with the suffix {', '.join(MASK_SUFFIXES)} (available: "
        f"{shorten(sorted(tree.files), 3) or 'none'}), or set data.mask_suffix to the text after the name"
    )
    jpeg = [name for name in missing for end in (".jpg", ".jpeg", ".JPG") if (folder / (name + suffix + end)).exists()]
    if jpeg:
        remedy = f"{jpeg[0]} is a JPEG file, whose compression changes class ids: export the masks as PNG"
    raise missing_masks(folder, missing, len(names), split, remedy)
