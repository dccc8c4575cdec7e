"""Images of class ids, and the colors of classes: color masks, id masks, overlays and legends."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.files import atomic_write

_FONT_SIZE = 14


def color_map(entries: int = 256) -> np.ndarray:
    """Return the PASCAL VOC colors (VOCdevkit, VOClabelcolormap): `[entries, 3]` uint8, RGB; 255 is near-white.

    Bit 3i of an id becomes bit 7-i of red, bit 3i+1 of green and bit 3i+2 of blue. Neighboring ids thus differ clearly,
    and all 256 colors are distinct.
    """
    ids, colors = np.arange(entries), np.zeros((entries, 3), np.uint8)
    for bit in range(8):
        colors[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return colors


def color_mask(ids: np.ndarray) -> Image.Image:
    """Return class ids `[h, w]` uint8 as a palette image whose pixel values are the ids, as PASCAL VOC stores masks."""
    mask = id_mask(ids)
    mask.putpalette(color_map().tobytes(), "RGB")
    return mask


def id_mask(ids: np.ndarray) -> Image.Image:
    """Return class ids `[h, w]` uint8 as an 8-bit gray image, for other programs; it looks almost black."""
    return Image.fromarray(ids.astype(np.uint8))


def overlay(image: np.ndarray, ids: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Draw classes over an image `[h, w, 3]` uint8 RGB: blended colors with white edges between the classes.

    Class 0 of the ids `[h, w]` uint8 is left uncolored, 255 (ignore) is drawn in its near-white color. The opacity of
    the colors is 0..1. Returns `[h, w, 3]` uint8.
    """
    colors = color_map()[ids].astype(np.float32)
    blended = np.where((ids != 0)[..., None], (1 - opacity) * image + opacity * colors, image)
    blended[class_edges(ids)] = 255
    return np.asarray(np.rint(blended), np.uint8)


def class_edges(ids: np.ndarray) -> np.ndarray:
    """Return the pixels, `[h, w]` bool, whose right or lower neighbor has another id."""
    edges = np.zeros(ids.shape, bool)
    edges[:-1] |= ids[:-1] != ids[1:]
    edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    return edges


def count_pixels(ids: np.ndarray) -> np.ndarray:
    """Count the pixels of each id in ids `[h, w]` uint8; returns `[256]` int64."""
    return np.bincount(ids.ravel(), minlength=256)


def class_shares(counts: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return the share (0..1) of the pixels, without 255, of each class that occurs, largest first.

    `counts` are the pixels of each id, `[256]` (`count_pixels`). Ids without a name are called "class 7".
    """
    return {name: share for _, name, share in _ranked_shares(counts, classes)}


def draw_legend(ids: np.ndarray, classes: Sequence[str], min_height: int) -> Image.Image:
    """Draw the color, name and share of each class in ids `[h, w]` uint8, largest first, `min_height` high or more."""
    font = ImageFont.load_default(_FONT_SIZE)
    line, colors = round(1.6 * _FONT_SIZE), color_map()
    rows = [(i, f"{name}  {share_text(share)}") for i, name, share in _ranked_shares(count_pixels(ids), classes)]
    width = 2 * line + max((int(font.getlength(text)) for _, text in rows), default=0)
    strip = Image.new("RGB", (width, max(min_height, line * (len(rows) + 1))), "white")
    draw = ImageDraw.Draw(strip)
    left = top = line // 2
    for i, text in rows:
        box = (left, top, left + _FONT_SIZE, top + _FONT_SIZE)
        draw.rectangle(box, fill=tuple(colors[i].tolist()), outline="black")
        draw.text((left + line, top + _FONT_SIZE // 2), text, fill="black", font=font, anchor="lm")
        top += line
    return strip


def side_by_side(*images: Image.Image) -> Image.Image:
    """Join images from left to right on a white RGB background, tops aligned."""
    sheet = Image.new("RGB", (sum(i.width for i in images), max(i.height for i in images)), "white")
    left = 0
    for image in images:
        sheet.paste(image.convert("RGB"), (left, 0))
        left += image.width
    return sheet


def share_text(share: float) -> str:
    """Format a share above 0 in percent: "12.3%", or "<0.1%" where rounding would hide that the class occurs."""
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def save_png(image: Image.Image, path: Path) -> None:
    """Write an image atomically as PNG."""
    save_pngs({path: image})


def save_pngs(images: Mapping[Path, Image.Image]) -> None:
    """Write images as PNG; none of the files appears before all of them are complete."""
    with ExitStack() as files:
        for path, image in images.items():
            image.save(files.enter_context(atomic_write(path)), "PNG")


def _ranked_shares(counts: np.ndarray, classes: Sequence[str]) -> list[tuple[int, str, float]]:
    """Return (id, name, share) of the classes that occur, without 255, largest share first."""
    labeled = counts[:IGNORE_LABEL]
    names = [*classes, *(f"class {i}" for i in range(len(classes), IGNORE_LABEL))]
    order = np.argsort(-labeled, kind="stable")
    return [(int(i), names[i], float(labeled[i] / labeled.sum())) for i in order if labeled[i]]
