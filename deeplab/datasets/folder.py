"""A folder with images/ and masks/ as a data source."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deeplab.config import DataConfig
from deeplab.datasets.image_files import pair_source, read_image, read_list, read_mask, required_folder, shorten
from deeplab.datasets.labels import ColorTable, check_label_ids, ids_of_colors, ids_of_values, read_colors
from deeplab.datasets.source import Source
from deeplab.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Lossless formats only."""


def folder_source(root: str | Path, split: str, config: DataConfig) -> Source:
    """Open a split of a folder with `images` and `masks`, whose files share their stems (plus `mask_suffix`).

    The split consists of the names in `root`/SPLIT.txt, else of the sub-folders images/SPLIT and masks/SPLIT, else of a
    seeded selection: `val_fraction` of the images are the validation split, the others the training split.

    Masks hold class ids (8-bit gray or palette PNG), other values with `label_ids`, or colors with `colors`. The class
    names are `config.classes`, else those of the color table, else the lines of `root`/classes.txt.

    Raises:
        UserError: a folder, a list, the class names or a mask is missing. Damaged files are reported when loaded.
    """
    root = required_folder(Path(root), "data.root is the folder with images and masks")
    images = required_folder(root / "images", "it holds the images")
    masks = required_folder(root / "masks", "it holds a mask for each image")
    table = read_colors(Path(config.colors)) if config.colors else None
    classes = _class_names(root, config, table)
    check_label_ids(config.label_ids, classes)
    if (images / split).is_dir():
        images, masks = images / split, required_folder(masks / split, "it holds the masks of the split")
    image_files, mask_files = _files_by_stem(images, IMAGE_SUFFIXES), _files_by_stem(masks, MASK_SUFFIXES)
    if not image_files:
        raise UserError(str(images), "no images", f"add files with the suffix {', '.join(IMAGE_SUFFIXES)}")
    names = _names_of_split(root, images, split, image_files, config)
    _check_masks([name + config.mask_suffix for name in names], mask_files, masks)

    def read_label(mask: Path) -> np.ndarray:
        label = read_mask(mask) if table is None else ids_of_colors(read_image(mask), table, str(mask))
        return ids_of_values(label, config.label_ids)

    pairs = [(image_files[name], mask_files[name + config.mask_suffix]) for name in names]
    return pair_source(f"{root.name}/{split}", classes, pairs, read_label)


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
    if classes or file.is_file():
        return classes or tuple(read_list(file))
    remedy = f"give data.classes=[background,...], a file {file} with one name per line, or data.colors=FILE.yaml"
    raise UserError("data.classes", "the class names are unknown", remedy)


def _names_of_split(root: Path, images: Path, split: str, files: dict[str, Path], config: DataConfig) -> list[str]:
    """Return the stems of the images of a split."""
    list_file = root / f"{split}.txt"
    if list_file.is_file():
        # The first column holds stems, file names or paths.
        paths = [Path(line.split()[0]) for line in read_list(list_file)]
        names = [path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name for path in paths]
        missing = [name for name in names if name not in files]
        if missing:
            raise UserError(str(list_file), f"names {shorten(missing, 3)}, not in {images}", "correct the list")
        return names
    split_has_folder = images != root / "images"
    if split_has_folder or config.train_split == config.val_split == split:
        return sorted(files)
    if split not in (config.train_split, config.val_split):
        problem = f"neither {list_file} nor {images / split} exists"
        remedy = f"without them there are {config.train_split} and {config.val_split}, divided by data.val_fraction"
        raise UserError(f"split {split}", problem, remedy)
    if len(files) < 2:
        raise UserError(str(images), "one image cannot be divided into training and validation", "add images")
    training, validation = split_names(files, config.val_fraction, config.split_seed)
    return training if split == config.train_split else validation


def _check_masks(names: list[str], files: dict[str, Path], folder: Path) -> None:
    """Raise UserError if a mask is missing; the remedy depends on the files that exist instead."""
    missing = [name for name in names if name not in files]
    if not missing:
        return
    remedy = (
        f"name each mask like its image, with the suffix {', '.join(MASK_SUFFIXES)} (available: "
        f"{shorten(sorted(files), 3) or 'none'}), or set data.mask_suffix to the text after the name"
    )
    jpeg = [name for name in missing for end in (".jpg", ".jpeg", ".JPG") if (folder / (name + end)).exists()]
    if jpeg:
        remedy = f"{jpeg[0]} is a JPEG file, whose compression changes class ids: export the masks as PNG"
    raise UserError(str(folder), f"no mask for {len(missing)} of {len(names)} images: {shorten(missing, 3)}", remedy)


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Map stems to files; raise UserError if two files have the same stem."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in files:
            raise UserError(str(path), f"has the same stem as {files[path.stem].name}", "remove one of them")
        files[path.stem] = path
    return files
