"""Labelled pictures side by side, for the eye to check."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from deeplab.datasets.source import Example
from deeplab.files import written_aside

_TILE, _CAPTION = 256, 16


def save_grid(path: Path, examples: Sequence[Example], classes: tuple[str, ...], columns: int = 4) -> None:
    """Writes a PNG with each picture beside its mask laid over it, and the names of the classes below.

    Every class has a hue of its own, the background none; ignored pixels are white.
    """
    rows = -(-len(examples) // columns)
    sheet = Image.new("RGB", (columns * 2 * _TILE, max(rows, 1) * (_TILE + 2 * _CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    colours = class_hues(len(classes))
    for number, example in enumerate(examples):
        left, top = number % columns * 2 * _TILE, number // columns * (_TILE + 2 * _CAPTION)
        for part, pixels in enumerate((example.image, tinted(example, colours))):
            tile = Image.fromarray(pixels)
            tile.thumbnail((_TILE - 4, _TILE - 4), Image.Resampling.BILINEAR)
            sheet.paste(tile, (left + part * _TILE, top))
        pen.text((left + 2, top + _TILE - 2), example.name[-40:], fill="black")
        x = left + 2
        for i in np.unique(example.label):
            name = "ignored" if i == 255 else classes[i]
            fill = (90, 90, 90) if i == 255 else tuple((colours[i] * 0.7).astype(int).tolist()) if i else (0, 0, 0)
            pen.text((x, top + _TILE + _CAPTION - 4), name, fill=fill)
            x += int(pen.textlength(name)) + 8
    with written_aside(path) as aside:
        sheet.save(aside, "PNG")


def class_hues(count: int) -> np.ndarray:
    """Colours `[256, 3]` uint8: black, then hues a golden section apart, white for 255."""
    colours = np.zeros((256, 3), np.uint8)
    hues = (np.arange(count) * 0.618034 * 255 % 255).astype(np.uint8)
    full = np.full(count, 255, np.uint8)
    colours[:count] = np.asarray(Image.fromarray(np.stack([hues, full, full], -1)[None], "HSV").convert("RGB"))[0]
    colours[0], colours[255] = 0, 255
    return colours


def tinted(example: Example, colours: np.ndarray) -> np.ndarray:
    """The picture `[h, w, 3]` uint8 with its classes laid over it; background stays as it is, edges are white."""
    label = example.label
    shown = np.where((label != 0)[..., None], example.image * 0.4 + colours[label] * 0.6, example.image)
    edge = np.zeros(label.shape, bool)
    edge[1:] |= label[1:] != label[:-1]
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    shown[edge] = 255
    return shown.astype(np.uint8)
