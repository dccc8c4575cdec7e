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
from deeplab.data_check.duplicates import near_duplicates, thumbnail
from deeplab.data_check.regions import region_areas
from deeplab.datasets.image_files import read_orientation
from deeplab.datasets.source import IGNORE_LABEL, Example, ExampleError, Source
from deeplab.errors import UserError
from deeplab.files import read_json
from deeplab.rendering.console import progress_bar

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
        height_width: median height and width of the images in pixels; (0, 0) without images.
        max_height_width: largest height and largest width.
        regions: number of connected regions of each class, see `region_areas`.
        region_area: median area of these regions, as a share of the pixels of their image; 0 without regions.
        copies: number of images that are copies, or nearly, of an earlier image of the split.
    """

    name: str
    size: int | None
    checked: int
    pixels: tuple[int, ...]
    images: tuple[int, ...]
    labeled_pixels: tuple[int, ...]
    ignored: int
    height_width: tuple[int, int] = (0, 0)
    max_height_width: tuple[int, int] = (0, 0)
    regions: tuple[int, ...] = ()
    region_area: tuple[float, ...] = ()
    copies: int = 0


@dataclass(frozen=True)
class SplitScan:
    """The result of loading examples of a split.

    Attributes:
        statistics: counts of the examples that could be loaded.
        errors: problems of the examples that could not be loaded.
        unlabeled: names of examples whose pixels are all ignored.
        black_and_white: names of examples whose masks have both values 0 and 255, and no other.
        digests: names of the examples by hash of their images.
        thumbnails: thumbnails of the images by name, see `thumbnail`.
        examples: a few examples, spread evenly.
        turned: image files whose EXIF orientation is not upright.
        unlisted: number of pixels with each mask value that `data.label_ids` does not list, without 255.
    """

    statistics: SplitStatistics
    errors: list[ExampleError]
    unlabeled: list[str]
    black_and_white: list[str]
    digests: dict[bytes, str]
    thumbnails: dict[str, np.ndarray]
    examples: list[Example]
    turned: list[str]
    unlisted: dict[int, int]


@dataclass(frozen=True)
class _Loaded:
    """What the scan keeps of one example.

    Attributes:
        example: image and label.
        counts: number of pixels of each id `[256]`.
        digest: hash of the image.
        thumbnail: see `thumbnail`.
        regions: class and area of each connected region, see `region_areas`.
        unlisted: number of pixels `[256]` with each mask value that `data.label_ids` does not list.
    """

    example: Example
    counts: np.ndarray
    digest: bytes
    thumbnail: np.ndarray
    regions: list[tuple[int, float]]
    unlisted: np.ndarray


def scan_split(source: Source, limit: int | None) -> SplitScan:
    """Load `limit` examples of a split, spread evenly, or all (200 of an endless source); count pixels and regions.

    A terminal shows a progress bar.
    """
    count = (limit or SAMPLE_SIZE) if source.size is None else source.size
    indices: Sequence[int] = range(count)
    if limit and limit < count:
        indices = np.linspace(0, count - 1, limit).round().astype(int).tolist()
    shown = set(indices[:: max(len(indices) // 12, 1)][:12])
    pixels, images, labeled, values = (np.zeros(256, np.int64) for _ in range(4))
    errors, unlabeled, black_and_white, examples, turned = [], [], [], [], []
    digests: dict[bytes, str] = {}
    thumbnails: dict[str, np.ndarray] = {}
    sizes: list[tuple[int, int]] = []
    regions: list[tuple[int, float]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress_bar() as bar:
        results = bar.track(pool.map(lambda i: _load(source, i), indices), len(indices), description=source.name)
        for index, loaded in zip(indices, results, strict=True):
            if isinstance(loaded, ExampleError):
                errors.append(loaded)
                continue
            example, counts = loaded.example, loaded.counts
            values += loaded.unlisted
            if _is_turned(source, index):
                turned.append(str(source.files[2 * index]))
            digests[loaded.digest] = example.name
            thumbnails[example.name] = loaded.thumbnail
            sizes.append((example.label.shape[0], example.label.shape[1]))
            regions += loaded.regions
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
    (median, largest), (numbers, areas) = _sizes(sizes), _regions_by_class(regions, len(source.classes))
    statistics = SplitStatistics(
        source.name,
        source.size,
        len(indices),
        *(by_class[0], by_class[1], by_class[2]),
        ignored=int(pixels[IGNORE_LABEL]),
        height_width=median,
        max_height_width=largest,
        regions=numbers,
        region_area=areas,
        copies=len({second for _, second in near_duplicates(thumbnails)}),
    )
    unlisted = {v: int(values[v]) for v in np.flatnonzero(values).tolist()}
    return SplitScan(statistics, errors, unlabeled, black_and_white, digests, thumbnails, examples, turned, unlisted)


def _sizes(sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the median and the largest (height, width) of `sizes`."""
    if not sizes:
        return (0, 0), (0, 0)
    (height, width), (max_height, max_width) = np.median(sizes, axis=0).astype(int), np.max(sizes, axis=0)
    return (int(height), int(width)), (int(max_height), int(max_width))


def _regions_by_class(regions: list[tuple[int, float]], classes: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the number and the median area of the regions of each class."""
    areas: list[list[float]] = [[] for _ in range(classes)]
    for class_id, area in regions:
        areas[class_id].append(area)
    return tuple(map(len, areas)), tuple(float(np.median(values)) if values else 0.0 for values in areas)


def _load(source: Source, index: int) -> _Loaded | ExampleError:
    """Load an example, or return the error."""
    unlisted = np.zeros(256, np.int64)
    try:
        example = source.load(index)
        if source.unlisted_values is not None:
            unlisted = np.bincount(source.unlisted_values(index), minlength=256)
    except ExampleError as error:
        return error
    except UserError as error:
        return ExampleError("unreadable", error.subject, error.problem, error.remedy)
    counts = np.bincount(example.label.ravel(), minlength=256)
    digest = hashlib.blake2b(example.image.tobytes(), digest_size=16).digest()
    return _Loaded(example, counts, digest, thumbnail(example.image), region_areas(example.label), unlisted)


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
        for key in ("class_weights", "data", "unlabelled"):
            content.pop(key, None)
        return build(cls, content) if content.pop("fingerprint", None) == fingerprint else None
    except UserError:
        return None
