"""Finding and reading the images and videos that a path or pattern names."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from deeplab.datasets.image_files import read_image
from deeplab.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"})
_SUPPORTED = f"images: {' '.join(sorted(IMAGE_SUFFIXES))}, videos: {' '.join(sorted(VIDEO_SUFFIXES))}"


@dataclass(frozen=True)
class Input:
    """An image or a video to predict.

    `name` is that of the results, without a suffix; it is unique among the inputs of one call, and contains "/" if the
    files of a pattern are in several folders.
    """

    path: Path
    name: str
    video: bool


def find_inputs(pattern: str) -> list[Input]:
    """Return the images and videos that `pattern` names, sorted by path.

    Args:
        pattern: a file, a folder (its files, without sub-folders), or a pattern such as `a/**/*.jpg`.

    Raises:
        UserError: no such file, or no images or videos among the files.
    """
    path = Path(pattern)
    # A file or folder whose name contains brackets is not a pattern.
    if path.is_dir():
        files, root = sorted(p for p in path.iterdir() if p.is_file()), path
    elif path.is_file():
        files, root = [path], path.parent
    else:
        files = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
        if not files:
            raise UserError(f"images={pattern}", "no such file or folder, and no file matches it", "check the path")
        root = Path(os.path.commonpath([p.parent for p in files]))
    known = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not known:
        raise UserError(f"images={pattern}", f"no image or video among {len(files)} file(s)", f"supported {_SUPPORTED}")
    stems = [p.relative_to(root).with_suffix("").as_posix() for p in known]
    return [
        Input(p, stem if stems.count(stem) == 1 else f"{stem}_{p.suffix[1:]}", p.suffix.lower() in VIDEO_SUFFIXES)
        for p, stem in zip(known, stems, strict=True)
    ]


def read_upright(path: Path) -> np.ndarray:
    """Read an image as `[h, w, 3]` uint8 RGB, rotated by its EXIF orientation, as image viewers show it.

    Raises:
        UserError: the file is missing, unreadable or truncated.
    """
    image = Image.fromarray(read_image(path))
    with Image.open(path) as file:
        image.getexif()[ExifTags.Base.Orientation] = file.getexif().get(ExifTags.Base.Orientation, 1)
    return np.ascontiguousarray(ImageOps.exif_transpose(image))
