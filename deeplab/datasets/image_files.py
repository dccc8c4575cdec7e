"""Readers of image, mask and list files, and the source of image and mask files."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab.datasets.source import Example, ExampleError, Source, checked_example
from deeplab.errors import UserError


def read_image(file: Path | bytes, name: str = "") -> np.ndarray:
    """Read an image as RGB `[h, w, 3]` uint8; gray is repeated over the channels, transparency is dropped.

    `file` is a path, or the content of a file that messages call `name`.

    Raises:
        ExampleError: the file is missing, unreadable or truncated, or has more than 8 bits per channel.
    """
    name = name or str(file)
    image = _open(file, name)
    if image.mode in ("I", "F", "I;16", "I;16B", "I;16L"):
        problem = f"expected 8 bits per channel, got Pillow mode {image.mode}"
        raise ExampleError("unreadable", name, problem, "save it as 8-bit JPEG or PNG")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_mask(file: Path | bytes, name: str = "") -> np.ndarray:
    """Read the class ids `[h, w]` uint8 of a one-channel mask; the ids of a palette image are its palette indices.

    `file` is a path, or the content of a file that messages call `name`.

    Raises:
        ExampleError: the file is missing, unreadable or truncated, or a color image.
    """
    name = name or str(file)
    mask = _open(file, name)
    if mask.mode in ("I", "I;16", "I;16B", "I;16L"):
        wide = np.asarray(mask)
        if wide.min() < 0 or wide.max() > 255:
            values = tuple(np.unique(wide)[:300].tolist())
            raise ExampleError("value", name, f"expected labels 0..255, got {wide.max()}", "correct the mask", values)
    elif mask.mode not in ("1", "L", "P"):
        problem = f"expected class ids, got a color image (Pillow mode {mask.mode})"
        remedy = "save class ids as 8-bit gray or palette PNG, or give a color table (data=folder, data.colors)"
        raise ExampleError("color", name, problem, remedy)
    return np.asarray(mask, np.uint8)


def pair_source(
    name: str, classes: tuple[str, ...], pairs: Sequence[tuple[Path, Path]], read_label: Callable[[Path], np.ndarray]
) -> Source:
    """Return the source of (image, mask) files; `read_label` reads the class ids `[h, w]` uint8 of a mask."""

    def load(index: int) -> Example:
        image, mask = pairs[index]
        return checked_example(read_image(image), read_label(mask), classes, str(image), str(mask))

    files = tuple(path for pair in pairs for path in pair)
    return Source(name, classes, len(pairs), load, tuple(image.stem for image, _ in pairs), files)


def read_list(path: Path) -> list[str]:
    """Read the non-empty lines of a text file, stripped.

    Raises:
        UserError: the file is missing, not text, or empty.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise UserError(str(path), "no such list file", _available(path.parent)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"cannot be read ({error})", "give a text file with one name per line") from None
    names = [line for line in lines if line]
    if not names:
        raise UserError(str(path), "the list is empty", "add one name per line")
    return names


def required_folder(path: Path, content: str) -> Path:
    """Return `path` if it is a folder, else raise UserError with the `content` it should have and the files near it."""
    if not path.is_dir():
        raise UserError(str(path), f"no such folder ({content})", _available(path.parent))
    return path


def shorten(names: Sequence[str], limit: int = 12) -> str:
    """Join the first `limit` names with commas and state how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _available(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} does not exist either"
    return f"{folder} contains {shorten(sorted(p.name for p in folder.iterdir())) or 'nothing'}"


def _open(file: Path | bytes, name: str) -> Image.Image:
    try:
        # A single read of the whole file replaces dozens of small reads by Pillow.
        image = Image.open(io.BytesIO(file.read_bytes() if isinstance(file, Path) else file))
        image.load()
    except FileNotFoundError:
        raise ExampleError("missing", name, "no such file", "restore it, or remove it from the list") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        remedy = "copy or save it again, or remove it from the list"
        raise ExampleError("unreadable", name, f"cannot be read ({error})", remedy) from None
    return image
