"""How often each class occurs in a split."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL, Example, ExampleError, Source
from deeplab.errors import UserError

SAMPLE = 200
"""How many pictures stand for a split."""

_GRID_PICTURES = 12


@dataclass(frozen=True)
class Split:
    """What was counted in one split.

    Attributes:
        name: of the data set and split.
        size: number of examples, None if endless.
        looked_at: how many were loaded.
        pixels: number of pixels of each class.
        pictures: number of pictures with each class.
        shared: number of pixels, over the pictures with each class, that are not ignored.
        ignored: number of pixels to ignore.
    """

    name: str
    size: int | None
    looked_at: int
    pixels: tuple[int, ...]
    pictures: tuple[int, ...]
    shared: tuple[int, ...]
    ignored: int


@dataclass(frozen=True)
class Look:
    """What was seen of one split.

    Attributes:
        split: the counts.
        faults: of the examples that could not be loaded.
        only_ignored: names of examples without a labeled pixel.
        black_and_white: names of examples whose masks hold 0 and 255 alone, both of them.
        digests: names of the examples by a hash of their pictures.
        examples: a few of them.
    """

    split: Split
    faults: list[ExampleError]
    only_ignored: list[str]
    black_and_white: list[str]
    digests: dict[bytes, str]
    examples: list[Example]


def look_at(source: Source, limit: int | None) -> Look:
    """Loads examples and counts what their masks hold.

    Args:
        source: the split.
        limit: how many to load, spread evenly; None loads all (an endless source gives 200).

    Returns:
        The counts, and the faults of examples that could not be loaded, which are not among them.
    """
    indices = _spread(source.size, limit)
    classes = len(source.classes)
    pixels, pictures, shared = (np.zeros(256, np.int64) for _ in range(3))
    faults: list[ExampleError] = []
    only_ignored: list[str] = []
    black_and_white: list[str] = []
    digests: dict[bytes, str] = {}
    examples: list[Example] = []
    kept = set(indices[:: max(len(indices) // _GRID_PICTURES, 1)][:_GRID_PICTURES])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, seen in zip(indices, pool.map(lambda i: _seen(source, i), indices), strict=True):
            if isinstance(seen, UserError):
                faults.append(
                    seen if isinstance(seen, ExampleError) else ExampleError("unreadable", source.name, str(seen), "")
                )
                continue
            example, counts, digest = seen
            digests[digest] = example.name
            pixels += counts
            pictures += counts > 0
            shared += np.where(counts > 0, counts.sum() - counts[IGNORE_LABEL], 0)
            if counts[IGNORE_LABEL] == counts.sum():
                only_ignored.append(example.name)
            if counts[0] and counts[IGNORE_LABEL] and counts[0] + counts[IGNORE_LABEL] == counts.sum():
                black_and_white.append(example.name)
            if index in kept:
                examples.append(example)
    by_class = [tuple(array[:classes].tolist()) for array in (pixels, pictures, shared)]
    split = Split(
        source.name, source.size, len(indices), by_class[0], by_class[1], by_class[2], int(pixels[IGNORE_LABEL])
    )
    return Look(split, faults, only_ignored, black_and_white, digests, examples)


def _seen(source: Source, index: int) -> tuple[Example, np.ndarray, bytes] | UserError:
    try:
        example = source.load(index)
    except UserError as error:
        return error
    counts = np.bincount(example.label.ravel(), minlength=256)
    return example, counts, hashlib.blake2b(example.image.tobytes(), digest_size=16).digest()


def _spread(size: int | None, limit: int | None) -> Sequence[int]:
    """Indices of at most `limit` examples, spread evenly."""
    if size is None:
        return range(limit or SAMPLE)
    if limit is None or limit >= size:
        return range(size)
    return np.linspace(0, size - 1, limit).round().astype(int).tolist()
