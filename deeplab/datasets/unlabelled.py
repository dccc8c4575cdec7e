"""Images without masks, which take part in a training through its teacher."""

import dataclasses
import filecmp
import hashlib
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.datasets.file_tree import read_tree
from deeplab.datasets.image_files import IMAGE_SUFFIXES, read_image, required_folder, shorten
from deeplab.datasets.source import IGNORE_LABEL, Example, Source
from deeplab.errors import UserError


def unlabelled_source(folder: Path, classes: tuple[str, ...]) -> Source:
    """Return the images of a folder as examples whose label is 255 (ignore) everywhere.

    Raises:
        UserError: the folder is missing, or contains no images.
    """
    tree = read_tree(required_folder(folder, "it holds images without masks"), IMAGE_SUFFIXES)
    if not tree.files:
        other = f" ({shorten(tree.others, 3)})" if tree.others else ""
        raise UserError(f"data.unlabelled={folder}", f"no images{other}", f"supported: {', '.join(IMAGE_SUFFIXES)}")
    names = tuple(sorted(tree.files))
    paths = tuple(tree.files[name] for name in names)

    def load(index: int) -> Example:
        image = read_image(paths[index])
        return Example(image, np.full(image.shape[:2], IGNORE_LABEL, np.uint8), names[index])

    return Source(f"{len(names)} unlabeled images", classes, len(names), load, names, paths)


def folder_contents(unlabeled: Source) -> dict[str, Any]:
    """Return the number of images of `unlabelled_source`, and a hash of their names and sizes in bytes, for JSON."""
    listed = [f"{name} {path.stat().st_size}" for name, path in zip(unlabeled.names, unlabeled.files, strict=True)]
    return {"images": len(listed), "sha256": hashlib.sha256("\n".join(listed).encode()).hexdigest()}


def joined(labeled: Source, unlabeled: Source) -> Source:
    """Return the examples of `labeled` followed by those of `unlabeled`.

    Raises:
        UserError: a source is endless.
    """
    first, second = labeled.size, unlabeled.size
    if first is None or second is None:
        problem = f"{labeled.name} is endless, so that other images have no place in its epochs"
        raise UserError("data.unlabelled", problem, "use a data source of files")

    def load(index: int) -> Example:
        return labeled.load(index) if index < first else unlabeled.load(index - first)

    name = f"{labeled.name} and {unlabeled.name}"
    return dataclasses.replace(labeled, name=name, size=first + second, load=load, names=(), files=())


def warn_about_validation_images(folder: Path, val: Source) -> None:
    """Warn if images of a folder without masks are validation images, too: files with equal content."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in unlabelled_source(folder, val.classes).files:
        by_size[path.stat().st_size].append(path)
    # The files of a source are image, mask, image, mask, ...; a limited source lists more than it has.
    images = [path for path in val.files[: 2 * (val.size or 0) : 2] if path.is_file()]
    found = [
        path.name
        for path in images
        if any(filecmp.cmp(path, other, shallow=False) for other in by_size[path.stat().st_size])
    ]
    if found:
        warnings.warn(
            f"data.unlabelled={folder} contains {len(found)} of {len(images)} validation images "
            f"({shorten(found, 3)}): the scores will be too high; remove these images from the folder",
            stacklevel=2,
        )
