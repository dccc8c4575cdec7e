"""Readers of image, mask and list files, and the source of image and mask files."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from deeplab.datasets.source import Example, ExampleError, Source, checked_example
from deeplab.errors import UserError, did_you_mean

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Lossless formats only."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns the stored pixels upright, by EXIF orientation (EXIF 2.32, sec. 4.6.4, tag 274)."""


def read_image(file: Path | bytes, name: str = "", oriented: bool = True) -> np.ndarray:
    """Read an image as RGB `[h, w, 3]` uint8; gray is repeated over the channels, transparency is dropped.

    Args:
        file: a path, or the content of a file that messages call `name`.
        name: the name in messages.
        oriented: turn the image as its EXIF orientation says, as image viewers and labeling tools do.

    Raises:
        ExampleError: the file is missing, unreadable or truncated, has several frames, or has more than 8 bits per
            channel.
    """
    name = name or str(file)
    image = _open(file, name)
    if image.mode in ("I", "F", "I;16", "I;16B", "I;16L"):
        problem = f"expected 8 bits per channel, got Pillow mode {image.mode}"
        raise ExampleError("unreadable", name, problem, "save it as 8-bit JPEG or PNG")
    operation = _UPRIGHT.get(_orientation(image)) if oriented else None
    image = image if image.mode == "RGB" else image.convert("RGB")
    return np.asarray(image if operation is None else image.transpose(operation))


def read_mask(file: Path | bytes, name: str = "") -> np.ndarray:
    """Read the class ids `[h, w]` uint8 of a one-channel mask; the ids of a palette image are its palette indices.

    `file` is a path, or the content of a file that messages call `name`.

    Raises:
        ExampleError: the file is missing, unreadable or truncated, has several frames, or is not one channel of
            integers 0..255.
    """
    name = name or str(file)
    mask = _open(file, name)
    if mask.mode in ("I", "I;16", "I;16B", "I;16L"):
        wide = np.asarray(mask)
        if wide.min() < 0 or wide.max() > 255:
            values = tuple(np.unique(wide)[:300].tolist())
            wrong = wide.max() if wide.max() > 255 else wide.min()
            raise ExampleError("value", name, f"expected labels 0..255, got {wrong}", "correct the mask", values)
    elif mask.mode == "F":
        problem = "expected class ids, got floating-point numbers (Pillow mode F)"
        raise ExampleError("color", name, problem, "save class ids as 8-bit gray or palette PNG")
    elif mask.mode not in ("1", "L", "P"):
        channels = len(mask.getbands())
        problem = f"expected one channel of class ids, got {channels} channels (Pillow mode {mask.mode})"
        remedy = "save class ids as 8-bit gray or palette PNG, or give a color table (data=folder, data.colors)"
        raise ExampleError("color", name, problem, remedy)
    return np.asarray(mask, np.uint8)


def read_rgb(path: Path) -> np.ndarray:
    """Read a mask whose colors code ids, as `[h, w, 3]` uint8; raise ExampleError unless it has three channels."""
    mask = _open(path, str(path))
    if mask.mode != "RGB":
        problem = f"expected three channels (RGB) that code ids, got Pillow mode {mask.mode}"
        raise ExampleError("color", str(path), problem, "restore the original file")
    return np.asarray(mask)


def read_orientation(path: Path) -> int:
    """Return the EXIF orientation of an image file, 1 to 8; 1 (upright) if it has none or cannot be read."""
    try:
        with Image.open(path) as image:
            return _orientation(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


def read_palette(path: Path) -> tuple[tuple[int, int, int], ...]:
    """Return the colors of a palette mask by value, () if the file has no palette or cannot be read."""
    try:
        with Image.open(path) as image:
            colors = image.getpalette("RGB") if image.mode == "P" else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ()
    return tuple(zip(*[iter(colors or ())] * 3, strict=True))


def pair_source(
    name: str,
    classes: tuple[str, ...],
    pairs: Sequence[tuple[Path, Path]],
    read_label: Callable[[Path, Path], np.ndarray],
    oriented: bool = True,
) -> Source:
    """Return the source of (image, mask) files.

    Args:
        name: data set and split.
        classes: class names by id.
        pairs: image and mask of each example.
        read_label: returns the class ids `[h, w]` uint8 of (image, mask).
        oriented: turn the images as their EXIF orientations say; False for sets whose masks show the stored pixels.
    """

    def load(index: int) -> Example:
        image, mask = pairs[index]
        return checked_example(read_image(image, "", oriented), read_label(image, mask), classes, str(image), str(mask))

    files = tuple(path for pair in pairs for path in pair)
    return Source(name, classes, len(pairs), load, tuple(image.stem for image, _ in pairs), files, oriented=oriented)


def read_list(path: Path, keep_empty: bool = False) -> list[str]:
    """Read the lines of a text file, stripped; a byte order mark is dropped.

    Args:
        path: the file.
        keep_empty: keep empty lines, except at the end.

    Raises:
        UserError: the file is missing, not text, or empty.
    """
    try:
        # Not splitlines, which also splits at control characters.
        lines = [line.strip(" \t") for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except FileNotFoundError:
        raise UserError(str(path), "no such list file", _available(path.parent)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"cannot be read ({error})", "give a text file with one name per line") from None
    names = [line for line in lines if line]
    if not names:
        raise UserError(str(path), "the list is empty", "add one name per line")
    while not lines[-1]:
        lines.pop()
    return lines if keep_empty else names


def required_root(root: str | Path, content: str) -> Path:
    """Return the folder `root`; raise UserError with the `content` it should have if it does not exist."""
    root = Path(root)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "no such folder"
        near = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        remedy = did_you_mean(root.name, near, "correct data.root", shown=lambda name: str(root.parent / name))
        raise UserError(str(root), f"{problem} (data.root is {content})", remedy)
    return root


def required_folder(path: Path, content: str) -> Path:
    """Return `path` if it is a folder, else raise UserError with the `content` it should have and the files near it."""
    if not path.is_dir():
        raise UserError(str(path), f"no such folder ({content})", _available(path.parent))
    return path


def shorten(names: Sequence[str], limit: int = 12) -> str:
    """Join the first `limit` names with commas and state how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


class MissingMasksError(UserError):
    """Images of a split have no mask.

    Args:
        names: the names of these images.
        subject, problem, remedy: as in UserError.
    """

    def __init__(self, names: Sequence[str], subject: str, problem: str, remedy: str) -> None:
        super().__init__(subject, problem, remedy)
        self.names = tuple(names)


def missing_masks(folder: Path, missing: Sequence[str], total: int, split: str, remedy: str) -> MissingMasksError:
    """Return the error that the examples `missing`, of `total` in a split, have no mask in `folder`."""
    problem = f"no mask for {len(missing)} of {total} images of split {split}: {shorten(missing, 3)}"
    problem += " (check_data=true lists all)" * (len(missing) > 3)
    return MissingMasksError(missing, str(folder), problem, remedy)


def _available(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} does not exist either"
    return f"{folder} contains {shorten(sorted(p.name for p in folder.iterdir())) or 'nothing'}"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data raise exceptions without a common class; the pixels are intact
        return 1
    return value if value in _UPRIGHT else 1


def _open(file: Path | bytes, name: str) -> Image.Image:
    try:
        # A single read of the whole file replaces dozens of small reads by Pillow.
        image = Image.open(io.BytesIO(file.read_bytes() if isinstance(file, Path) else file))
        image.load()
    except FileNotFoundError:
        raise ExampleError("missing", name, "no such file", "restore it, or remove it from the list") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        remedy = "copy or save it again, or remove it from the list"
        # Pillow's own text names the object in memory, not the file.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else error
        raise ExampleError("unreadable", name, f"cannot be read ({reason})", remedy) from None
    # The further images in a JPEG file of a phone are previews and depth maps.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ExampleError("unreadable", name, f"expected one frame, got {frames}", "save each frame as a file")
    return image
