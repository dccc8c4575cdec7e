"""Chooses the training images that calibrate a quantized file (the representative dataset of TFLite)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab.config import Fit
from deeplab.datasets.source import IGNORE_LABEL, Example, Source
from deeplab.pixels import GRAY, Pixel
from deeplab.prediction.image_fit import Size, fit_example


@dataclass(frozen=True)
class Calibration:
    """The calibration images and how they were chosen.

    Attributes:
        images: `[h, w, 3]` float32 0..255 each, at the model's size, without augmentation.
        names: of the images.
        seed: of the random sample.
        classes: number of classes in their labels.
    """

    images: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    seed: int
    classes: int

    def origin(self) -> dict[str, Any]:
        """Return how the images were chosen, and the minimum and maximum of their values, for the report."""
        span = float(min(i.min() for i in self.images)), float(max(i.max() for i in self.images))
        return {"seed": self.seed, "images": self.names, "classes": self.classes, "span": span}


@dataclass(frozen=True, eq=False)
class _FittedExample:
    """An image at the size of the model, its name, and the classes in its label."""

    image: np.ndarray
    name: str
    classes: frozenset[int]


def _fitted(example: Example, size: Size, padding: Pixel, fit: Fit) -> _FittedExample:
    classes = frozenset(np.unique(example.label).tolist()) - {IGNORE_LABEL}
    return _FittedExample(fit_example(example, size, fit, padding).image, example.name, classes)


def choose_calibration(
    source: Source,
    count: int,
    size: tuple[int, int],
    seed: int,
    padding: Pixel = GRAY,
    fit: Fit = "auto",
) -> Calibration:
    """Choose images whose labels together contain as many classes as possible.

    From a random sample four times as large, it repeatedly takes the image that adds the most classes; among equal
    images the first one of the sample.

    Args:
        source: training images; augmentation is not applied.
        count: number of images; fewer if the source is smaller.
        size: (height, width) of the model.
        seed: of the random sample.
        padding: red, green and blue of the padding: `pixels.mean_pixel` of the backbone.
        fit: how images of other sizes meet the model, see `fit_image`.
    """
    # An endless source is sampled from its first 10,000 examples.
    order = np.random.default_rng(seed).permutation(10_000 if source.size is None else source.size)
    # Only the fitted images are kept: 64 photos of 12 megapixels have 3 GB.
    sample = [_fitted(source.load(int(i)), size, padding, fit) for i in order[: 4 * count]]
    chosen: list[_FittedExample] = []
    covered: frozenset[int] = frozenset()
    while sample and len(chosen) < count:
        best = max(sample, key=lambda e: len(e.classes - covered))
        sample = [e for e in sample if e is not best]
        chosen.append(best)
        covered |= best.classes
    images = tuple(e.image.astype(np.float32) for e in chosen)
    return Calibration(with_full_range(images), tuple(e.name for e in chosen), seed, len(covered))


def with_full_range(images: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Return the images, with one pixel of the first image set to 0 and one set to 255 in every channel.

    Calibration derives the input's scale from the observed values. If they did not span 0..255, raw bytes would no
    longer fit the scale, and every client would silently feed slightly wrong pixels.
    """
    first = images[0].copy()
    first[0, 0], first[-1, -1] = 0, 255
    return (first, *images[1:])
