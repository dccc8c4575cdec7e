"""Which pictures and videos a path means, and reading them."""

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab.datasets.image_files import read_image
from deeplab.errors import UserError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"})
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True)
class Input:
    """A file to label.

    Attributes:
        path: of the file.
        name: what its results are called, no ending; unique among the inputs of one call, with "/" where patterns
            reach into folders.
        video: whether it is a video.
    """

    path: Path
    name: str
    video: bool


def find_inputs(pattern: str) -> list[Input]:
    """The pictures and videos that `pattern` means, sorted by path.

    Args:
        pattern: a file, a folder (its own files, not those of folders within), or a pattern such as `a/**/*.jpg`.

    Raises:
        UserError: nothing there, or no picture or video among it.
    """
    path = Path(pattern)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file())
        root = path
    elif path.is_file():
        found, root = [path], path.parent
        if path.suffix.lower() not in PICTURES | VIDEOS:
            raise UserError(f"images={pattern}", f"{path.suffix or 'no ending'} is no kind of picture", _kinds())
    else:
        # A name may hold brackets of its own; it was a file or folder then, and was taken above.
        found = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
        root = _common(found)
        if not found:
            raise UserError(f"images={pattern}", "no such file or folder, and no file fits it", "check the path")
    known = [p for p in found if p.suffix.lower() in PICTURES | VIDEOS]
    if not known:
        raise UserError(f"images={pattern}", f"no picture among {len(found)} files", _kinds())
    stems = [p.relative_to(root).with_suffix("").as_posix() for p in known]
    return [
        Input(p, stem if stems.count(stem) == 1 else f"{stem}_{p.suffix[1:]}", p.suffix.lower() in VIDEOS)
        for p, stem in zip(known, stems, strict=True)
    ]


def read_upright(path: Path) -> np.ndarray:
    """A picture `[h, w, 3]` uint8 RGB, turned as its EXIF orientation says, so as viewers show it.

    Raises:
        UserError: missing, unreadable or truncated.
    """
    image = read_image(path)
    with Image.open(path) as opened:
        orientation = opened.getexif().get(_ORIENTATION, 1)
    return np.ascontiguousarray(_UPRIGHT.get(orientation, lambda x: x)(image))


def _common(paths: list[Path]) -> Path:
    """The innermost folder that holds all of `paths`."""
    folder = paths[0].parent if paths else Path()
    while any(folder != p.parent and folder not in p.parents for p in paths):
        folder = folder.parent
    return folder


def _kinds() -> str:
    return "pictures: " + " ".join(sorted(PICTURES)) + ", videos: " + " ".join(sorted(VIDEOS))
