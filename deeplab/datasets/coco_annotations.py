"""The annotation files of COCO, reduced to the 20 classes of PASCAL VOC."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL, ExampleError
from deeplab.errors import UserError
from deeplab.files import read_json

COCO_NAMES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip
"""The categories of COCO that are the classes 1..20 of VOC, in their order (torchvision, coco_utils.py)."""

MIN_PIXELS = 1000
"""A training image needs more labeled pixels of the 20 classes than this (DeepLabv3, arXiv:1706.05587, sec. 4.3;
torchvision, references/segmentation/coco_utils.py)."""

_REMEDY = "restore the file of COCO"


@dataclass(frozen=True)
class Region:
    """A region of one image.

    Attributes:
        class_id: class of VOC 1..20, 0 for another category, or 255 for a crowd of the 20 classes.
        segment_id: id in the panoptic PNG file, or id of the annotation.
        polygons: corners x, y, x, y, ... of each polygon; () for a panoptic segment or a run-length encoding.
        runs: run-length encoding of a crowd, by columns from the top left, starting with the pixels outside.
    """

    class_id: int
    segment_id: int
    polygons: tuple[np.ndarray, ...] = ()
    runs: np.ndarray | bytes | None = None


@dataclass(frozen=True)
class ImageRecord:
    """The annotations of one image: file names, size in pixels, regions, and labeled pixels of the 20 classes."""

    file_name: str
    mask_name: str
    height: int
    width: int
    regions: tuple[Region, ...]
    labeled_pixels: float


def read_instances(path: Path) -> tuple[ImageRecord, ...]:
    """Read the images of an instances_*.json file; see `_read`."""
    return _read(path, _stamp(path), _instance_regions)


def read_panoptic(path: Path) -> tuple[ImageRecord, ...]:
    """Read the images of a panoptic_*.json file; see `_read`."""
    return _read(path, _stamp(path), _panoptic_regions)


def draw_instances(record: ImageRecord, path: Path) -> np.ndarray:
    """Return the class ids `[h, w]` uint8 of an image; pixels of several instances and of crowds are ignored.

    Raises:
        UserError: pycocotools is not installed.
        ExampleError: a polygon or run-length encoding is not valid; the message names the annotation in `path`.
    """
    try:
        from pycocotools import mask as coco
    except ImportError:
        remedy = 'pip install "deeplab-toolkit[coco]", or use data.name=panoptic'
        raise UserError(str(path), "instance annotations need pycocotools", remedy) from None
    size = (record.height, record.width)
    ids, count = np.zeros(size, np.uint8), np.zeros(size, np.uint16)
    crowd = np.zeros(size, bool)
    for region in record.regions:
        try:
            if region.runs is None:
                encoded = coco.frPyObjects([polygon.tolist() for polygon in region.polygons], *size)
                inside = coco.decode(encoded).any(axis=2)
            elif isinstance(region.runs, bytes):
                inside = coco.decode({"size": list(size), "counts": region.runs}).astype(bool)
            else:
                inside = np.repeat(np.arange(len(region.runs)) % 2 == 1, region.runs).reshape(size[::-1]).T
        except ValueError as error:
            problem = f"annotation {region.segment_id} of {record.file_name} cannot be drawn ({error})"
            raise ExampleError("unreadable", str(path), problem, _REMEDY) from None
        if region.class_id == IGNORE_LABEL:
            crowd |= inside
        else:
            ids[inside] = region.class_id
            count += inside
    ids[crowd | (count > 1)] = IGNORE_LABEL
    return ids


def panoptic_ids(mask: np.ndarray, record: ImageRecord, path: Path) -> np.ndarray:
    """Return the class ids `[h, w]` uint8 of a panoptic mask `[h, w, 3]` uint8 with ids R + 256 G + 65536 B.

    Raises:
        ExampleError: the mask has an id that the annotation file does not list; the message names `path`.
    """
    segments = mask.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    values, positions = np.unique(segments, return_inverse=True)
    class_ids = {region.segment_id: region.class_id for region in record.regions} | {0: IGNORE_LABEL}
    unknown = [int(value) for value in values if int(value) not in class_ids]
    if unknown:
        problem = f"segment {unknown[0]} is not listed for {record.file_name}"
        raise ExampleError("value", str(path), problem, "use the PNG and JSON files of the same release")
    ids = np.array([class_ids[int(value)] for value in values], np.uint8)
    return ids[positions.reshape(segments.shape)]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        near = sorted(p.name for p in path.parent.glob("*.json"))
        raise UserError(
            str(path), "no such file", f"{path.parent} contains {', '.join(near) or 'no JSON file'}"
        ) from None
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=2)
def _read(path: Path, stamp: tuple[int, int], regions_of: Any) -> tuple[ImageRecord, ...]:
    """Read an annotation file and keep what the 20 classes need; `stamp` reads a changed file again.

    The file of the training split has 450 MB: data check, training and evaluation share one reading.

    Raises:
        UserError: the file is damaged, or a category, image or region is missing or not valid.
    """
    print(f"Reading {path} ...")
    content = read_json(path)
    try:
        classes = _class_ids(content["categories"], path)
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        unknown = {item["image_id"] for item in content["annotations"]} - set(sizes)
        if unknown:
            raise UserError(str(path), f"annotates image {min(unknown)}, which it does not list", _REMEDY)
        regions, areas, mask_names = regions_of(content["annotations"], classes, sizes, path)
        records = tuple(
            ImageRecord(
                image["file_name"],
                mask_names.get(image["id"], ""),
                *sizes[image["id"]],
                tuple(regions.get(image["id"], ())),
                areas.get(image["id"], 0),
            )
            for image in content["images"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(str(path), f"is not an annotation file of COCO ({error!r})", _REMEDY) from None
    large = sum(record.labeled_pixels > MIN_PIXELS for record in records)
    print(f"{large} of {len(records)} images have more than {MIN_PIXELS} pixels of the 20 classes of VOC")
    return records


def _class_ids(categories: Iterable[Mapping[str, Any]], path: Path) -> dict[int, int]:
    """Return the class of VOC by category id, 0 for the others."""
    ids = {category["name"]: category["id"] for category in categories}
    absent = [name for name in COCO_NAMES if name not in ids]
    if absent:
        raise UserError(str(path), f"has no category {', '.join(absent)}", "give an annotation file of COCO 2017")
    by_name = {name: i + 1 for i, name in enumerate(COCO_NAMES)}
    return {number: by_name.get(name, 0) for name, number in ids.items()}


_Sizes = Mapping[int, tuple[int, int]]
"""Height and width by image id."""

_Regions = tuple[dict[int, list[Region]], dict[int, float], dict[int, str]]
"""Regions, labeled pixels and names of mask files by image id."""


def _instance_regions(
    annotations: Iterable[Mapping[str, Any]],
    classes: Mapping[int, int],
    sizes: _Sizes,
    path: Path,
) -> _Regions:
    regions: dict[int, list[Region]] = {}
    areas: dict[int, float] = {}
    for item in annotations:
        class_id = _class_of(item, classes, path)
        if not class_id:
            continue
        image, shape = item["image_id"], item["segmentation"]
        problem = ""
        if isinstance(shape, Mapping):
            counts = shape["counts"]
            runs = counts.encode() if isinstance(counts, str) else np.asarray(counts, np.int64)
            region = Region(class_id, item["id"], runs=runs)
            pixels = sizes[image][0] * sizes[image][1]
            if tuple(shape["size"]) != sizes[image]:
                problem = f"has the size {shape['size']}, its image {list(sizes[image])}"
            elif isinstance(runs, np.ndarray) and ((runs < 0).any() or runs.sum() != pixels):
                problem = f"has runs of {runs.sum()} pixels, its image {pixels}"
        else:
            region = Region(class_id, item["id"], tuple(np.asarray(polygon, np.float64) for polygon in shape))
            if not shape or any(
                polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2 for polygon in region.polygons
            ):
                problem = "has a polygon with less than 3 corners or an odd number of values"
        if problem:  # pycocotools would misread it
            raise UserError(str(path), f"annotation {item['id']} {problem}", _REMEDY)
        regions.setdefault(image, []).append(region)
        areas[image] = areas.get(image, 0) + (item["area"] if class_id != IGNORE_LABEL else 0)
    return regions, areas, {}


def _panoptic_regions(
    annotations: Iterable[Mapping[str, Any]],
    classes: Mapping[int, int],
    sizes: _Sizes,
    path: Path,
) -> _Regions:
    regions: dict[int, list[Region]] = {}
    areas: dict[int, float] = {}
    names: dict[int, str] = {}
    for item in annotations:
        image = item["image_id"]
        names[image] = item["file_name"]
        labeled = [(_class_of(segment, classes, path), segment) for segment in item["segments_info"]]
        regions[image] = [Region(class_id, segment["id"]) for class_id, segment in labeled]
        areas[image] = sum(segment["area"] for class_id, segment in labeled if class_id not in (0, IGNORE_LABEL))
    return regions, areas, names


def _class_of(item: Mapping[str, Any], classes: Mapping[int, int], path: Path) -> int:
    """Return the class of an annotation or segment: 1..20, 0 for other categories, 255 for a crowd of the classes."""
    category = item["category_id"]
    if category not in classes:
        problem = f"annotation {item['id']} has category {category}, which the file does not list"
        raise UserError(str(path), problem, _REMEDY)
    return IGNORE_LABEL if item["iscrowd"] and classes[category] else classes[category]
