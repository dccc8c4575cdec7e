"""A sheet of labeled images for visual inspection."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deeplab.datasets.source import IGNORE_LABEL, Example
from deeplab.rendering.masks import color_map, overlay, save_png

_MAX_HEIGHT, _GAP, _SEAM, _LINE_HEIGHT = 200, 8, 2, 16
"""Pixels: maximum height of an image, between two pairs, between an image and its overlay, and per line of text."""


def save_grid(path: Path, examples: Sequence[Example], classes: tuple[str, ...], width: int = 1600) -> None:
    """Write a PNG of `width` pixels with each image, its overlay, its name and its classes.

    The colors are those of `color_map`; the background is left uncolored, ignored pixels are near-white.
    """
    placed: list[tuple[Image.Image, tuple[int, int]]] = []
    row: list[Example] = []
    top = 0
    for number, example in enumerate(examples, 1):
        row.append(example)
        aspects = sum(2 * e.label.shape[1] / e.label.shape[0] for e in row)
        height = (width - (_GAP + _SEAM) * len(row)) / aspects
        if height <= _MAX_HEIGHT or number == len(examples):
            tiles, left = [_tile(e, classes, max(int(min(height, _MAX_HEIGHT)), 1)) for e in row], 0
            for tile in tiles:
                placed.append((tile, (left, top)))
                left += tile.width + _GAP
            top += max(tile.height for tile in tiles) + _GAP
            row = []
    sheet = Image.new("RGB", (width, max(top - _GAP, 1)), "white")
    for tile, position in placed:
        sheet.paste(tile, position)
    save_png(sheet, path)


def _tile(example: Example, classes: tuple[str, ...], height: int) -> Image.Image:
    """Draw an image and its overlay, `height` pixels high, with the name and the classes below."""
    rows, columns = example.label.shape
    size = max(round(columns * height / rows), 1), height
    width = 2 * size[0] + _SEAM
    ids = np.unique(example.label).tolist()
    tile = Image.new("RGB", (width, height + _LINE_HEIGHT * (len(ids) + 1)), "white")
    for left, pixels in ((0, example.image), (size[0] + _SEAM, overlay(example.image, example.label, 0.6))):
        tile.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), (left, 0))
    pen, font, colors = ImageDraw.Draw(tile), ImageFont.load_default(11), color_map()
    name, top = example.name[-40:], height + 2
    pen.text((0, top), name, fill="black", font=font)
    left = int(font.getlength(name)) + 9
    for i in ids:
        text = "ignored" if i == IGNORE_LABEL else classes[i]
        text_width = int(font.getlength(text)) + 1
        if left + 13 + text_width > width:
            left, top = 0, top + _LINE_HEIGHT
        pen.rectangle((left, top + 2, left + 9, top + 11), fill=tuple(colors[i].tolist()), outline="black")
        pen.text((left + 13, top), text, fill="black", font=font)
        left += 13 + text_width + 8
    return tile.crop((0, 0, width, top - 2 + _LINE_HEIGHT))
