"""Pictures and masks from files."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from deeplab.datasets.source import ExampleError
from deeplab.errors import UserError

_Place = Path | BinaryIO


def read_image(path: Path) -> np.ndarray:
    """The picture of a file as RGB `[h, w, 3]` uint8; gray is spread over the channels, transparency dropped.

    Raises:
        ExampleError: missing, unreadable or truncated, or more than 8 bits a channel.
    """
    return decode_image(path, str(path))


def read_mask(path: Path) -> np.ndarray:
    """The class ids of a one-channel mask `[h, w]` uint8; a palette is only its coloring and the ids are kept.

    Raises:
        ExampleError: missing, unreadable or truncated, or a color picture.
    """
    return decode_mask(path, str(path))


def decode_image(place: _Place, name: str) -> np.ndarray:
    """As `read_image`, from a path or an open file that messages call `name`."""
    image = _opened(place, name)
    if image.mode in ("I", "F", "I;16", "I;16B", "I;16L"):
        raise ExampleError(
            "unreadable", name, f"more than 8 bits a channel (Pillow mode {image.mode})", "save it as 8-bit JPEG or PNG"
        )
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def decode_mask(place: _Place, name: str) -> np.ndarray:
    """As `read_mask`, from a path or an open file that messages call `name`."""
    mask = _opened(place, name)
    if mask.mode == "1":
        return np.asarray(mask, np.uint8)
    if mask.mode in ("I", "I;16", "I;16B", "I;16L"):
        wide = np.asarray(mask)
        if wide.min() >= 0 and wide.max() <= 255:
            return wide.astype(np.uint8)
        values = tuple(np.unique(wide)[:300].tolist())
        raise ExampleError("value", name, f"label {int(wide.max())}", "labels are 0..255", values)
    if mask.mode not in ("L", "P"):
        raise ExampleError(
            "color",
            name,
            f"the mask is a color picture (Pillow mode {mask.mode}), not class ids",
            "save class ids as 8-bit gray or palette PNG, or give a color table (data=folder, data.colors)",
        )
    return np.asarray(mask)


def read_list(path: Path) -> list[str]:
    """The non-empty lines of a list file, without spaces at the ends.

    Raises:
        UserError: missing, not text, or empty.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise UserError(str(path), "no such list file", f"there are: {_listed(path.parent)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"cannot be read ({error})", "it must be a text file with one name a line") from None
    names = [line for line in lines if line]
    if not names:
        raise UserError(str(path), "the list is empty", "one name a line")
    return names


def required_folder(path: Path, what: str) -> Path:
    """`path` if it is a folder.

    Raises:
        UserError: it is none; the message says `what` it should hold and what lies beside it.
    """
    if not path.is_dir():
        raise UserError(str(path), f"no such folder ({what})", f"there are: {_listed(path.parent)}")
    return path


def shortened(names: Sequence[str], limit: int = 12) -> str:
    """The first `limit` names and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _listed(folder: Path) -> str:
    if not folder.is_dir():
        return f"nothing, for {folder} is no folder either"
    return shortened(sorted(p.name for p in folder.iterdir())) or "nothing"


def _opened(place: _Place, name: str) -> Image.Image:
    """The picture, all of its bytes read."""
    try:
        # One read of the whole file: Pillow would make dozens of small ones.
        image = Image.open(io.BytesIO(place.read_bytes()) if isinstance(place, Path) else place)
        image.load()
    except FileNotFoundError:
        raise ExampleError("missing", name, "no such file", "restore it, or take its name out of the list") from None
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ExampleError(
            "unreadable", name, f"cannot be read ({error})", "copy or save it again, or take it out of the list"
        ) from None
    return image
