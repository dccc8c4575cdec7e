"""Which training pictures set the ranges of a quantized file."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL, Example, Source
from deeplab.prediction.image_fit import fit_image

CANDIDATES = 4
"""How many pictures are looked at for each that is taken."""


@dataclass(frozen=True)
class Calibration:
    """The pictures, and how they were chosen.

    Attributes:
        images: `[h, w, 3]` float32 0..255 each, at the model's size, without augmentation.
        names: of the pictures.
        seed: of the choice.
        classes: how many classes occur in their masks.
    """

    images: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    seed: int
    classes: int

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest value of all pictures."""
        return float(min(i.min() for i in self.images)), float(max(i.max() for i in self.images))


def choose_calibration(source: Source, count: int, size: tuple[int, int], seed: int) -> Calibration:
    """Draws pictures that cover the classes.

    From a seeded sample four times as large, the picture that adds most classes is taken each time; when no picture
    adds any, the order of the sample decides.

    Args:
        source: of training pictures; their augmentation is not applied.
        count: how many to take; fewer where the source has fewer.
        size: (height, width) of the model. Pictures that fit are padded with gray, larger ones resized.
        seed: another seed gives other pictures.
    """
    sample = list(_sample(source, count * CANDIDATES, seed))
    present = {id(e): frozenset(np.unique(e.label)) - {IGNORE_LABEL} for e in sample}
    chosen: list[Example] = []
    covered: frozenset[int] = frozenset()
    while sample and len(chosen) < count:
        best = max(sample, key=lambda e: len(present[id(e)] - covered))
        sample = [e for e in sample if e is not best]
        chosen.append(best)
        covered |= present[id(best)]
    images = tuple(fit_image(e.image, size).image.astype(np.float32) for e in chosen)
    return Calibration(spanning(images), tuple(e.name for e in chosen), seed, len(covered))


def spanning(images: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The pictures, the first of them with a pixel each at 0 and 255 in every channel.

    Calibration sets the input's scale by the values it sees. Without both ends the scale would stop fitting raw bytes,
    and every client would feed a slightly wrong picture without a word.
    """
    first = images[0].copy()
    first[0, 0] = 0
    first[-1, -1] = 255
    return (first, *images[1:])


def _sample(source: Source, count: int, seed: int) -> Iterator[Example]:
    """`count` different examples in an order drawn by `seed`."""
    rng = np.random.default_rng(seed)
    # An endless source has no end to draw from; its first ten thousand examples are as good as any.
    size = 10_000 if source.size is None else source.size
    return (source.load(int(i)) for i in rng.permutation(size)[:count])
