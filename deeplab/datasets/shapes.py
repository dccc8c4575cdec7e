"""Drawn scenes of shapes on a textured background: the endless data source of the built-in demo."""

import colorsys
import math
import zlib

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL, Example, Source

CLASSES = ("background", "disc", "box", "triangle", "star", "ring", "cross")
"""Class names by id."""

_Rng = np.random.Generator

_Position = tuple[float, float, float]
"""Center (x, y) and radius of a shape in pixels."""


def shapes_source(split: str, size: int = 160, seed: int = 0) -> Source:
    """Create an endless source of scenes with two to five shapes on a cluttered background.

    Color is a hint, as it is for objects in photographs: each class has its range of hues, which overlaps slightly with
    those of its two neighbors; the background is grayish with streaks of any color. Texture, light and clutter are
    independent of the class. Each shape has a border of ignored pixels, 1 to 3 pixels wide, as in PASCAL VOC. The image
    is anti-aliased; a pixel of the mask belongs to the topmost shape that covers its center.

    Scene `i` is a function of (seed, split, size, i): `split` is any name, `size` the side of the square in pixels, at
    least 32.
    """
    stream = zlib.crc32(split.encode())

    def load(index: int) -> Example:
        return Example(*draw_scene(np.random.default_rng((seed, stream, index)), size), f"shapes/{split}/{index}")

    return Source(f"shapes/{split}", CLASSES, None, load)


def draw_scene(rng: _Rng, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene: image `[size, size, 3]` uint8 and mask `[size, size]` uint8."""
    # Channels-first drawing is three times as fast in numpy as three interleaved values per pixel.
    image = _background(rng, size)
    label = np.zeros((size, size), np.uint8)
    placed: list[_Position] = []
    for _ in range(rng.integers(2, 6)):
        placed.append(_draw_position(rng, size, placed))
        _draw_shape(rng, image, label, placed[-1], int(rng.integers(1, len(CLASSES))))
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + strength * (np.float32(np.cos(angle)) * ramp[None, :] + np.float32(np.sin(angle)) * ramp[:, None])
    image *= light
    strength = rng.uniform(0, 8)  # of the camera noise, in gray levels
    image += (rng.random((size, size), np.float32) - np.float32(0.5)) * np.float32(2 * strength)
    np.clip(image, 0, 255, out=image)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0)), label


def _draw_position(rng: _Rng, size: int, placed: list[_Position]) -> _Position:
    """Return the first of six drawn positions that hardly overlaps other shapes, or the best of them."""
    best, best_gap = (0.0, 0.0, 0.0), -math.inf
    for _ in range(6):
        radius = size * rng.uniform(0.13, 0.30)
        x, y = rng.uniform(0.6 * radius, size - 0.6 * radius, 2)
        gap = min((math.hypot(x - u, y - v) / (radius + r) for u, v, r in placed), default=math.inf)
        if gap > best_gap:
            best, best_gap = (x, y, radius), gap
        if gap > 0.75:
            break
    return best


def _draw_shape(rng: _Rng, image: np.ndarray, label: np.ndarray, position: _Position, class_id: int) -> None:
    """Paint a shape over `image` `[3, h, w]` and `label` `[h, w]` in place."""
    x, y, radius = position
    size, margin = len(label), radius * 1.5 + 3
    left, right = max(0, int(x - margin)), min(size, int(x + margin) + 1)
    top, bottom = max(0, int(y - margin)), min(size, int(y + margin) + 1)
    dx = (np.arange(left, right) - x).astype(np.float32)[None, :]
    dy = (np.arange(top, bottom) - y).astype(np.float32)[:, None]
    angle, stretch = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.15, 0.15))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (cos * dx + sin * dy) * np.float32(stretch), (cos * dy - sin * dx) * np.float32(1 / stretch)
    distance = _SHAPE_DISTANCES[CLASSES[class_id]](u, v, np.float32(radius))
    cover = np.clip(np.float32(0.5) - distance, 0, 1)
    window = image[:, top:bottom, left:right]
    paint = _texture(rng, dx + np.float32(x), dy + np.float32(y), class_id)
    paint -= window
    paint *= cover
    window += paint
    mask = label[top:bottom, left:right]
    mask[distance <= 0] = class_id
    mask[np.abs(distance) <= rng.uniform(0.5, 1.5)] = IGNORE_LABEL


def _triangle(u: np.ndarray, v: np.ndarray, r: np.float32) -> np.ndarray:
    slope = np.abs(u) * np.float32(np.sqrt(0.75)) + v * np.float32(0.5)
    return np.maximum(slope, -v) - r * np.float32(0.6)


def _star(u: np.ndarray, v: np.ndarray, r: np.float32) -> np.ndarray:
    fifth = 2 * np.pi / 5
    tip, notch = r * 1.15, r * 0.48
    corner = np.array([notch * np.cos(fifth / 2), notch * np.sin(fifth / 2)])
    edge = corner - [tip, 0]
    normal = (np.array([-edge[1], edge[0]]) / np.hypot(*edge)).astype(np.float32)
    normal *= np.sign(normal[0])
    # By symmetry one edge is enough: fold all angles into a tenth of the circle.
    turn = np.abs(np.mod(np.arctan2(v, u) + np.float32(fifth / 2), np.float32(fifth)) - np.float32(fifth / 2))
    length = np.hypot(u, v)
    return (length * np.cos(turn) - np.float32(tip)) * normal[0] + length * np.sin(turn) * normal[1]


def _cross(u: np.ndarray, v: np.ndarray, r: np.float32) -> np.ndarray:
    u, v, half = np.abs(u), np.abs(v), r * np.float32(0.32)
    return np.minimum(np.maximum(u - r, v - half), np.maximum(u - half, v - r))


_SHAPE_DISTANCES = {
    "disc": lambda u, v, r: np.hypot(u, v) - r * np.float32(0.9),
    "box": lambda u, v, r: np.maximum(np.abs(u), np.abs(v)) - r * np.float32(0.8),
    "triangle": _triangle,
    "star": _star,
    "ring": lambda u, v, r: np.abs(np.hypot(u, v) - r * np.float32(0.75)) - r * np.float32(0.24),
    "cross": _cross,
}
"""Signed distances to the outline in pixels, negative inside: of (u, v), relative to the center, for the radius r."""


def _color(rng: _Rng, class_id: int) -> np.ndarray:
    """Draw a saturated color of a class, or a grayish background color (class 0): `[3, 1, 1]` float32, 0..255."""
    if class_id == 0:
        gray, tint = rng.uniform(30, 225), rng.uniform(-18, 18, 3)
        return (gray + tint).astype(np.float32)[:, None, None]
    # Hues that deviate by more than half the distance of two classes overlap: only the shape identifies the class.
    hue = (class_id + rng.uniform(-0.55, 0.55)) / (len(CLASSES) - 1)
    color = colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.0))
    return np.array(color, np.float32)[:, None, None] * np.float32(255)


def _texture(rng: _Rng, x: np.ndarray, y: np.ndarray, class_id: int) -> np.ndarray:
    """Draw a texture `[3, h, w]` float32 of two colors of a class, at columns `x` `[1, w]` and rows `y` `[h, 1]`."""
    first, second = _color(rng, class_id), _color(rng, class_id)
    contrast = np.float32(rng.uniform(0.15, 0.7)) * (second - first)
    kind = rng.integers(5)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 16)
    cos, sin = np.float32(np.cos(angle) * np.pi / period), np.float32(np.sin(angle) * np.pi / period)
    along = cos * x + sin * y
    if kind == 0:
        pattern = np.float32(0.2) * np.sin(along)
    elif kind == 1:
        pattern = np.clip(3 * np.sin(2 * along), -1, 1)
    elif kind == 2:
        pattern = np.clip(4 * np.sin(along) * np.sin(cos * y - sin * x), -1, 1)
    elif kind == 3:
        cell = int(rng.integers(2, 8))
        values = 2 * rng.random([-(-side // cell) for side in along.shape], np.float32)
        pattern = values.repeat(cell, 0).repeat(cell, 1)[: len(y), : x.size]
    else:
        low, high = along.min(), along.max()
        pattern = (along - low) * (2 / max(high - low, np.float32(1e-6)))
    texture = contrast * pattern
    texture += first
    return texture


def _background(rng: _Rng, size: int) -> np.ndarray:
    """Draw a texture with streaks and soft spots, whose outlines differ from all shapes: `[3, size, size]` float32."""
    line = np.arange(size, dtype=np.float32)
    x, y = line[None, :], line[:, None]
    image = _texture(rng, x, y, 0)
    pixels = image.reshape(3, -1)
    for _ in range(rng.integers(0, 7)):
        angle, offset, width = rng.uniform(0, np.pi), rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.6, 2.5)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        cover = cos * (x - np.float32(offset[0])) + sin * (y - np.float32(offset[1]))
        cover = np.float32(width + 0.5) - np.abs(cover).ravel()
        hit = np.flatnonzero(cover > 0)
        under = pixels[:, hit]
        pixels[:, hit] = under + np.minimum(cover[hit], 1) * (rng.uniform(0, 255, (3, 1)).astype(np.float32) - under)
    for _ in range(rng.integers(0, 4)):
        center, spread = rng.uniform(0, size, 2).astype(np.float32), np.float32(size * rng.uniform(0.05, 0.2))
        row, column = np.exp(-(((line - center[:, None]) / spread) ** 2))
        image += (column[:, None] * row[None, :]) * np.float32(rng.uniform(-60, 60))
    return image
