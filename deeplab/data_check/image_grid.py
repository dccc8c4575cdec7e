"""Labeled pictures side by side, for the eye to check."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deeplab.datasets.source import IGNORE_LABEL, Example
from deeplab.files import atomic_write
from deeplab.rendering.colors import color_map

_HEIGHT, _GAP, _SEAM, _LINE = 200, 8, 2, 16
"""Of the pictures at most, between pairs, between a picture and its mask, and of a line of text; pixels."""


def save_grid(path: Path, examples: Sequence[Example], classes: tuple[str, ...], width: int = 1600) -> None:
    """Writes a PNG of `width` pixels with each picture beside its mask laid over it, name and classes below.

    The colors are those of `color_map`; the background has none, ignored pixels are near-white.
    """
    rows = [[_tile(e, classes, height) for e in row] for row, height in _rows(examples, width)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) + _GAP * max(len(rows) - 1, 0) or 1), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile in row:
            sheet.paste(tile, (left, top))
            left += tile.width + _GAP
        top += height + _GAP
    with atomic_write(path) as aside:
        sheet.save(aside, "PNG")


def _rows(examples: Sequence[Example], width: int) -> list[tuple[list[Example], int]]:
    """Examples shared out to rows that they fill at the height given, the last row at most at `_HEIGHT`."""
    rows: list[tuple[list[Example], int]] = []
    row: list[Example] = []
    for number, example in enumerate(examples, 1):
        row.append(example)
        aspects = sum(2 * e.label.shape[1] / e.label.shape[0] for e in row)
        free = width - (_GAP + _SEAM) * len(row)
        if free / aspects <= _HEIGHT or number == len(examples):
            rows.append((row, max(int(min(free / aspects, _HEIGHT)), 1)))
            row = []
    return rows


def tinted(example: Example) -> np.ndarray:
    """The picture `[h, w, 3]` uint8 with its classes laid over it; background stays as it is, edges are white."""
    label = example.label
    shown = np.where((label != 0)[..., None], example.image * 0.4 + color_map()[label] * 0.6, example.image)
    edge = np.zeros(label.shape, bool)
    edge[1:] |= label[1:] != label[:-1]
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    shown[edge] = 255
    return shown.astype(np.uint8)


def _tile(example: Example, classes: tuple[str, ...], height: int) -> Image.Image:
    """A picture and its mask, `height` pixels high, and below what they are called."""
    rows, columns = example.label.shape
    size = max(round(columns * height / rows), 1), height
    width = 2 * size[0] + _SEAM
    pictures = [Image.fromarray(p).resize(size, Image.Resampling.BILINEAR) for p in (example.image, tinted(example))]
    font = ImageFont.load_default(11)
    lines = _lines(example, classes, width, font)
    tile = Image.new("RGB", (width, height + _LINE * len(lines)), "white")
    tile.paste(pictures[0], (0, 0))
    tile.paste(pictures[1], (size[0] + _SEAM, 0))
    pen = ImageDraw.Draw(tile)
    for number, line in enumerate(lines):
        y = height + number * _LINE + 2
        for text, x, _, color in line:
            if color is not None:
                pen.rectangle((x, y + 2, x + 9, y + 11), fill=color, outline="black")
            pen.text((x + (13 if color is not None else 0), y), text, fill="black", font=font)
    return tile


def _lines(
    example: Example, classes: tuple[str, ...], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[list[tuple[str, int, int, tuple[int, ...] | None]]]:
    """The words below a picture by line: text, where it begins and ends, the color of the square before it."""
    name = example.name[-40:]
    lines: list[list[tuple[str, int, int, tuple[int, ...] | None]]] = [[(name, 0, int(font.getlength(name)) + 1, None)]]
    colors = color_map()
    for i in np.unique(example.label).tolist():
        text = "ignored" if i == IGNORE_LABEL else classes[i]
        needed = 13 + int(font.getlength(text)) + 1
        left = lines[-1][-1][2] + 8
        if left + needed > width:
            lines.append([])
            left = 0
        lines[-1].append((text, left, left + needed, tuple(colors[i].tolist())))
    return lines
