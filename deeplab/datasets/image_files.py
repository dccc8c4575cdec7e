"""Readers of image, mask and list files."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from deeplab.datasets.source import ExampleError
from deeplab.errors import UserError


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB `[h, w, 3]` uint8; gray is repeated over the channels, transparency is dropped.

    Raises:
        ExampleError: the file is missing, unreadable or truncated, or has more than 8 bits per channel.
    """
    return decode_image(path, str(path))


def read_mask(path: Path) -> np.ndarray:
    """Read the class ids `[h, w]` uint8 of a one-channel mask; the ids of a palette image are its palette indices.

    Raises:
        ExampleError: the file is missing, unreadable or truncated, or a color image.
    """
    return decode_mask(path, str(path))


def decode_image(file: Path | BinaryIO, name: str) -> np.ndarray:
    """Decode an image as `read_image` does, from a path or an open file that messages call `name`."""
    image = _open(file, name)
    if image.mode in ("I", "F", "I;16", "I;16B", "I;16L"):
        problem = f"expected 8 bits per channel, got Pillow mode {image.mode}"
        raise ExampleError("unreadable", name, problem, "save it as 8-bit JPEG or PNG")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def decode_mask(file: Path | BinaryIO, name: str) -> np.ndarray:
    """Decode a mask as `read_mask` does, from a path or an open file that messages call `name`."""
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
    """Return `path` if it is a folder.

    Raises:
        UserError: it is not; the message states the `content` it should have and lists its parent folder.
    """
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


def _open(file: Path | BinaryIO, name: str) -> Image.Image:
    try:
        # A single read of the whole file replaces dozens of small reads by Pillow.
        image = Image.open(io.BytesIO(file.read_bytes()) if isinstance(file, Path) else file)
        image.load()
    except FileNotFoundError:
        raise ExampleError("missing", name, "no such file", "restore it, or remove it from the list") from None
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        remedy = "copy or save it again, or remove it from the list"
        raise ExampleError("unreadable", name, f"cannot be read ({error})", remedy) from None
    return image
