"""Finding the images and videos that a path, a pattern or a list names."""

import glob
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deeplab.datasets.image_files import IMAGE_SUFFIXES, read_list, shorten
from deeplab.errors import UserError

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
        pattern: a file, a folder (its files, without sub-folders), a pattern such as `a/**/*.jpg`, or a list of a
            VOCdevkit (`VOC2012/ImageSets/Segmentation/test.txt`), whose order is kept.

    Raises:
        UserError: no such file, or no images or videos among the files. A warning names what a folder contains besides.
    """
    path = Path(pattern)
    if path.is_file() and path.suffix == ".txt" and path.absolute().parts[-3:-1] == ("ImageSets", "Segmentation"):
        return _listed_images(path)
    # A file or folder whose name contains brackets is not a pattern.
    if path.is_dir():
        files, root = sorted(p for p in path.iterdir() if p.is_file()), path
    elif path.is_file():
        files, root = [path], path.parent
    else:
        files = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
        if not files:
            raise UserError(f"images={pattern}", _why_no_file(path), "check the path")
        root = Path(os.path.commonpath([p.parent for p in files]))
    known = [p for p in files if p.suffix.lower() in {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES}]
    if not known:
        raise UserError(f"images={pattern}", f"no image or video among {len(files)} file(s)", f"supported {_SUPPORTED}")
    if path.is_dir():
        _name_unused(pattern, path, known)
    stems = [p.relative_to(root).with_suffix("").as_posix() for p in known]
    return [
        Input(p, stem if stems.count(stem) == 1 else f"{stem}_{p.suffix[1:]}", p.suffix.lower() in VIDEO_SUFFIXES)
        for p, stem in zip(known, stems, strict=True)
    ]


def _why_no_file(path: Path) -> str:
    """Return why a path is neither a file nor a folder."""
    if path.is_symlink() and not path.exists():
        return "is a link to a file that does not exist"
    return "is no regular file" if path.exists() else "no such file or folder, and no file matches it"


def _name_unused(pattern: str, folder: Path, used: Sequence[Path]) -> None:
    """Warn about the entries of a folder that are not used, such as sub-folders; hidden ones are not counted."""
    unused = sorted({p.name for p in folder.iterdir() if not p.name.startswith(".")} - {p.name for p in used})
    if unused:
        remedy = f"; for files in sub-folders give a pattern such as '{folder}/**/*.jpg'"
        warnings.warn(
            f"images={pattern}: not used: {shorten(unused, 5)}"
            + remedy * any((folder / name).is_dir() for name in unused),
            stacklevel=3,
        )


def _listed_images(path: Path) -> list[Input]:
    """Return the images that a list of a VOCdevkit names, in its order: YEAR/ImageSets/Segmentation/SPLIT.txt."""
    images = path.absolute().parents[2] / "JPEGImages"
    names = dict.fromkeys(line.split()[0] for line in read_list(path))
    return [Input(images / f"{name}.jpg", name, video=False) for name in names]
