"""Any labeled folder: images/ and masks/ with the same names."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from deeplab.config import DataConfig
from deeplab.datasets.image_files import read_image, read_list, read_mask, required_folder, shortened
from deeplab.datasets.labels import ColorTable, checked_label_ids, ids_of_colors, ids_of_values, read_colors
from deeplab.datasets.source import Example, Source, checked_example
from deeplab.errors import UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Only what keeps every value as it is: no JPEG."""


def folder_source(root: str | Path, split: str, config: DataConfig) -> Source:
    """A split of a folder with `images` and `masks`, of the same names but for the ending (and `mask_suffix`).

    The split is what a list file SPLIT.txt in `root` names, else the sub-folders images/SPLIT and masks/SPLIT, else a
    seeded share: `val_fraction` of the pictures, the same ones every time, are the validation split.

    Masks hold class ids (8-bit gray or palette PNG), other values with `label_ids`, or colors with `colors`. Names
    of the classes are `config.classes`, else those of the color table, else the lines of classes.txt in `root`.

    Raises:
        UserError: a folder, list, name or mask is missing. What is wrong with a file shows when it is loaded.
    """
    root = required_folder(Path(root), "data.root names the folder with images and masks")
    images, masks = (
        required_folder(root / "images", "pictures"),
        required_folder(root / "masks", "one for each picture"),
    )
    table = read_colors(Path(config.colors)) if config.colors else None
    classes = _classes(root, config, table)
    checked_label_ids(config.label_ids, classes)
    if (images / split).is_dir():
        images, masks = images / split, required_folder(masks / split, "masks of the split")
    image_files, mask_files = _by_stem(images, IMAGE_ENDINGS), _by_stem(masks, MASK_ENDINGS)
    if not image_files:
        raise UserError(str(images), "no pictures", f"they end in {', '.join(IMAGE_ENDINGS)}")
    names = _names(root, images, split, image_files, config)
    _require_masks([name + config.mask_suffix for name in names], mask_files, masks)
    pairs = [(image_files[name], mask_files[name + config.mask_suffix]) for name in names]

    def load(index: int) -> Example:
        image, mask = pairs[index]
        label = read_mask(mask) if table is None else ids_of_colors(read_image(mask), table, str(mask))
        if config.label_ids is not None:
            label = ids_of_values(label, config.label_ids)
        return checked_example(read_image(image), label, classes, str(image), str(mask))

    files = tuple(path for pair in pairs for path in pair)
    return Source(f"{root.name}/{split}", classes, len(names), load, tuple(names), files)


def shared_out(names: Iterable[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """(training, validation) names; at least one of each, and validation gets `fraction` of them.

    Names are ranked by a hash of their own, so that a few new pictures move hardly any from one side to the other.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    count = min(max(round(len(ranked) * fraction), 1), len(ranked) - 1)
    return sorted(ranked[count:]), sorted(ranked[:count])


def _classes(root: Path, config: DataConfig, table: ColorTable | None) -> tuple[str, ...]:
    listed = root / "classes.txt"
    if config.classes is not None:
        if table is not None and len(config.classes) != len(table.classes):
            raise UserError("data.classes", f"{len(config.classes)} names, {len(table.classes)} colors", "leave it out")
        return config.classes
    if table is not None:
        return table.classes
    if listed.is_file():
        return tuple(read_list(listed))
    raise UserError(
        "data.classes",
        "the names of the classes are not known",
        f"data.classes=[background,...], a file {listed} with a name a line, or data.colors=FILE.yaml",
    )


def _names(root: Path, images: Path, split: str, files: dict[str, Path], config: DataConfig) -> list[str]:
    """The pictures of the split, without endings."""
    listed = root / f"{split}.txt"
    if listed.is_file():
        names = [_stem(line) for line in read_list(listed)]
        missing = [name for name in names if name not in files]
        if missing:
            raise UserError(str(listed), f"names {shortened(missing, 3)}, not in {images}", "correct the list")
        return names
    if images.name == split and images.parent.name == "images":
        return sorted(files)
    if config.train_split == config.val_split == split:
        return sorted(files)
    if split not in (config.train_split, config.val_split):
        known = f"{config.train_split} and {config.val_split} are shared out"
        raise UserError(f"split {split}", f"there is neither {listed} nor {images / split}", known)
    if len(files) < 2:
        raise UserError(str(images), "one picture cannot be both trained and measured on", "add pictures")
    training, validation = shared_out(files, config.val_fraction, config.split_seed)
    return training if split == config.train_split else validation


def _require_masks(names: list[str], files: dict[str, Path], folder: Path) -> None:
    """Raises UserError where a mask is missing, with what lies there instead."""
    lacking = [name for name in names if name not in files]
    if not lacking:
        return
    jpegs = [name for name in lacking if any((folder / (name + end)).exists() for end in (".jpg", ".jpeg", ".JPG"))]
    if jpegs:
        remedy = f"{jpegs[0]} and others are JPEG, which blurs one class into the next: export the masks as PNG"
    else:
        there = shortened(sorted(files), 3) or "none"
        remedy = (
            f"masks are named as their picture and end in {', '.join(MASK_ENDINGS)} (there are {there}); "
            "data.mask_suffix says what follows the name"
        )
    raise UserError(
        str(folder), f"no mask for {len(lacking)} of {len(names)} pictures: {shortened(lacking, 3)}", remedy
    )


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Files by name without ending.

    Raises:
        UserError: two files differ in their ending only.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in endings or path.name.startswith("."):
            continue
        if path.stem in files:
            raise UserError(str(path), f"has the name of {files[path.stem].name}", "one file a picture: remove one")
        files[path.stem] = path
    return files


def _stem(line: str) -> str:
    """Lists may give names, file names, or paths; the first column counts."""
    name = Path(line.split()[0])
    return name.stem if name.suffix.lower() in IMAGE_ENDINGS else name.name
