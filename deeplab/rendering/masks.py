"""Class ids as pictures: color masks, id masks, overlays, legends."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.files import atomic_write
from deeplab.rendering.colors import color_map


def color_mask(ids: np.ndarray) -> Image.Image:
    """Class ids `[h, w]` uint8 as a palette picture: it shows colors, and its pixels still are the ids (VOC's way)."""
    mask = Image.fromarray(ids.astype(np.uint8)).copy()
    mask.putpalette(color_map().tobytes(), "RGB")
    return mask


def id_mask(ids: np.ndarray) -> Image.Image:
    """Class ids `[h, w]` uint8 as an 8-bit gray picture: what other programs read back, nearly black to the eye."""
    return Image.fromarray(ids.astype(np.uint8))


def overlay(image: np.ndarray, ids: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The picture with its classes drawn over it.

    Args:
        image: `[h, w, 3]` uint8, RGB.
        ids: `[h, w]` uint8; class 0 leaves the picture as it is, ids and 255 are blended in, edges drawn solid white.
        opacity: of the colors, 0..1.

    Returns:
        `[h, w, 3]` uint8.
    """
    colors = color_map()[ids].astype(np.float32)
    covered = (ids != 0)[..., None]
    blended = np.where(covered, (1 - opacity) * image + opacity * colors, image)
    blended[class_edges(ids)] = 255
    return np.asarray(np.rint(blended), np.uint8)


def class_edges(ids: np.ndarray) -> np.ndarray:
    """Pixels `[h, w]` bool with another id on their right or below."""
    edges = np.zeros(ids.shape, bool)
    edges[:-1] |= ids[:-1] != ids[1:]
    edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    return edges


def shares(ids: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Share of the pixels, 255 left out, of each class that occurs in ids `[h, w]` uint8, largest first; 0..1."""
    return shares_of(np.bincount(ids.ravel(), minlength=256), classes)


def shares_of(counts: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """As `shares`, from the number of pixels of each id, `[256]`."""
    return {class_name(i, classes): share for i, share in _ranked(counts)}


def _ranked(counts: np.ndarray) -> list[tuple[int, float]]:
    """(id, share) of the ids that occur, 255 left out, largest first."""
    known = counts[:IGNORE_LABEL]
    order = np.argsort(-known, kind="stable")
    return [(int(i), float(known[i] / known.sum())) for i in order if known[i]]


def class_name(index: int, classes: Sequence[str]) -> str:
    """The name of class `index`; "class 7" where there is none."""
    return classes[index] if index < len(classes) else f"class {index}"


def legend(ids: np.ndarray, classes: Sequence[str], height: int, size: int = 14) -> Image.Image:
    """A strip of at least `height` pixels with the color, name and share of each class in `ids`, largest first.

    Args:
        ids: `[h, w]` uint8.
        classes: names by id.
        height: the least height of the strip, that of the picture beside it.
        size: of the letters, in pixels.
    """
    font = ImageFont.load_default(size)
    line, colors = round(1.6 * size), color_map()
    ranked = _ranked(np.bincount(ids.ravel(), minlength=256))
    rows = [(i, f"{class_name(i, classes)}  {share:.1%}") for i, share in ranked]
    width = 2 * line + max((int(font.getlength(text)) for _, text in rows), default=0)
    strip = Image.new("RGB", (width, max(height, line * (len(rows) + 1))), "white")
    draw = ImageDraw.Draw(strip)
    for row, (i, text) in enumerate(rows):
        top = line // 2 + row * line
        draw.rectangle((line // 2, top, line // 2 + size, top + size), fill=tuple(colors[i].tolist()), outline="black")
        draw.text((line // 2 + line, top + size // 2), text, fill="black", font=font, anchor="lm")
    return strip


def beside(*pictures: Image.Image) -> Image.Image:
    """Pictures side by side on white, tops aligned, RGB."""
    sheet = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture.convert("RGB"), (left, 0))
        left += picture.width
    return sheet


def encode(picture: Image.Image, kind: str = "PNG", quality: int = 85) -> bytes:
    """The picture as the bytes of a file of this kind ("PNG", "JPEG")."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def save(picture: Image.Image, path: Path) -> None:
    """Writes the picture as PNG, whole or not at all."""
    with atomic_write(path) as aside:
        aside.write_bytes(encode(picture))
