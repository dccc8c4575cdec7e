"""Statistics of a split: how often each class occurs, and which examples have problems."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from deeplab.config import build
from deeplab.datasets.image_files import read_orientation
from deeplab.datasets.source import IGNORE_LABEL, Example, ExampleError, Source
from deeplab.errors import UserError
from deeplab.files import read_json

T = TypeVar("T")

SAMPLE_SIZE = 200
"""Number of images that represent a split."""


@dataclass(frozen=True)
class SplitStatistics:
    """Counts of one split.

    Attributes:
        name: data set and split.
        size: number of examples, None if endless.
        checked: number of examples that were loaded.
        pixels: number of pixels of each class.
        images: number of images with each class.
        labeled_pixels: number of labeled pixels in the images with each class.
        ignored: number of ignored pixels.
    """

    name: str
    size: int | None
    checked: int
    pixels: tuple[int, ...]
    images: tuple[int, ...]
    labeled_pixels: tuple[int, ...]
    ignored: int


@dataclass(frozen=True)
class SplitScan:
    """The result of loading examples of a split.

    Attributes:
        statistics: counts of the examples that could be loaded.
        errors: problems of the examples that could not be loaded.
        unlabeled: names of examples whose pixels are all ignored.
        black_and_white: names of examples whose masks have both values 0 and 255, and no other.
        digests: names of the examples by hash of their images.
        examples: a few examples, spread evenly.
        turned: image files whose EXIF orientation is not upright.
        unlisted: number of pixels with each mask value that `data.label_ids` does not list, without 255.
    """

    statistics: SplitStatistics
    errors: list[ExampleError]
    unlabeled: list[str]
    black_and_white: list[str]
    digests: dict[bytes, str]
    examples: list[Example]
    turned: list[str]
    unlisted: dict[int, int]


def scan_split(source: Source, limit: int | None) -> SplitScan:
    """Load `limit` examples of a split, spread evenly, or all (200 of an endless source); count their pixels."""
    count = (limit or SAMPLE_SIZE) if source.size is None else source.size
    indices: Sequence[int] = range(count)
    if limit and limit < count:
        indices = np.linspace(0, count - 1, limit).round().astype(int).tolist()
    shown = set(indices[:: max(len(indices) // 12, 1)][:12])
    pixels, images, labeled, values = (np.zeros(256, np.int64) for _ in range(4))
    errors, unlabeled, black_and_white, examples, turned = [], [], [], [], []
    digests: dict[bytes, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, loaded in zip(indices, pool.map(lambda i: _load(source, i), indices), strict=True):
            if isinstance(loaded, ExampleError):
                errors.append(loaded)
                continue
            example, counts, digest, value_counts = loaded
            values += value_counts
            if _is_turned(source, index):
                turned.append(str(source.files[2 * index]))
            digests[digest] = example.name
            total, ignored = counts.sum(), counts[IGNORE_LABEL]
            pixels += counts
            images += counts > 0
            labeled += np.where(counts > 0, total - ignored, 0)
            if ignored == total:
                unlabeled.append(example.name)
            if counts[0] and ignored and counts[0] + ignored == total:
                black_and_white.append(example.name)
            if index in shown:
                examples.append(example)
    by_class = [tuple(counts[: len(source.classes)].tolist()) for counts in (pixels, images, labeled)]
    counted = (by_class[0], by_class[1], by_class[2], int(pixels[IGNORE_LABEL]))
    statistics = SplitStatistics(source.name, source.size, len(indices), *counted)
    unlisted = {v: int(values[v]) for v in np.flatnonzero(values).tolist()}
    return SplitScan(statistics, errors, unlabeled, black_and_white, digests, examples, turned, unlisted)


def _load(source: Source, index: int) -> tuple[Example, np.ndarray, bytes, np.ndarray] | ExampleError:
    """Load an example, or return the error.

    Returns:
        The example, the pixel count of each id `[256]`, the hash of the image, and the pixel count of each mask value
        `[256]` that `data.label_ids` does not list.
    """
    value_counts = np.zeros(256, np.int64)
    try:
        example = source.load(index)
        if source.unlisted_values is not None:
            value_counts = np.bincount(source.unlisted_values(index), minlength=256)
    except ExampleError as error:
        return error
    except UserError as error:
        return ExampleError("unreadable", error.subject, error.problem, error.remedy)
    counts = np.bincount(example.label.ravel(), minlength=256)
    return example, counts, hashlib.blake2b(example.image.tobytes(), digest_size=16).digest(), value_counts


def _is_turned(source: Source, index: int) -> bool:
    """Return whether an image on disk is turned because of its EXIF orientation."""
    has_pairs = source.oriented and source.size is not None and len(source.files) == 2 * source.size
    return has_pairs and read_orientation(source.files[2 * index]) != 1


def read_stored(cls: type[T], path: Path, fingerprint: str) -> T | None:
    """Read a dataclass from a JSON file; None if the file is missing, damaged, or has another fingerprint."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        content.pop("class_weights", None)
        content.pop("data", None)
        return build(cls, content) if content.pop("fingerprint", None) == fingerprint else None
    except UserError:
        return None
