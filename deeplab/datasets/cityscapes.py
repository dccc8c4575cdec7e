"""Cityscapes in its original layout: leftImg8bit and gtFine (or gtCoarse) with a sub-folder per city."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from deeplab.datasets.file_tree import read_tree
from deeplab.datasets.image_files import missing_masks, pair_source, read_mask, required_folder, required_root, shorten
from deeplab.datasets.labels import lookup_table, map_values
from deeplab.datasets.source import IGNORE_LABEL, ExampleError, Source
from deeplab.errors import UserError

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 classes that are evaluated, by train id (cityscapesScripts, helpers/labels.py)."""

LABELS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""All labels by id, as in the files *_labelIds.png (cityscapesScripts, helpers/labels.py)."""

NOT_DRAWN = "license plate"
"""The label whose id is negative; its polygons are not drawn."""

_TRAIN_IDS = {name: CLASSES.index(name) if name in CLASSES else IGNORE_LABEL for name in LABELS}
LABEL_IDS = lookup_table(dict(enumerate(_TRAIN_IDS.values())))
"""The class id of each value of *_labelIds.png, for `map_values`."""

_KINDS = {"labelIds": ".png", "labelTrainIds": ".png", "polygons": ".json"}
"""Endings of the files with labels and their suffixes; the first one that exists is read."""


def cityscapes_source(root: str | Path, split: str, annotations: str = "gtFine") -> Source:
    """Open a split of Cityscapes, with the 19 train ids as classes; all other labels are ignored.

    The labels of an image are the values of *_labelIds.png, else of *_labelTrainIds.png, else the polygons of
    *_polygons.json, which are drawn as in cityscapesScripts, preparation/json2labelImg.py.

    Args:
        root: the folder with leftImg8bit and gtFine.
        split: the sub-folder of both: train, val, test, or train_extra with gtCoarse.
        annotations: gtFine or gtCoarse.

    Raises:
        UserError: a folder or the labels of an image are missing, or a file name is unexpected. Damaged files are
            reported when loaded.
    """
    root = required_root(root, "the folder with leftImg8bit and gtFine")
    if annotations not in ("gtFine", "gtCoarse"):
        raise UserError(f"data.name={annotations}", "unknown annotations", "use gtFine or gtCoarse")
    images = required_folder(required_folder(root / "leftImg8bit", "it holds the images") / split, "a split")
    labels = required_folder(required_folder(root / annotations, "it holds the labels") / split, "a split")
    image_tree = read_tree(images, (".png",), "_leftImg8bit")
    if image_tree.others:
        problem = f"{len(image_tree.others)} unexpected files: {shorten(image_tree.others, 3)}"
        raise UserError(str(images), problem, "images are CITY/NAME_leftImg8bit.png: rename or remove the others")
    if not image_tree.files:
        raise UserError(str(images), "no images", "expected CITY/NAME_leftImg8bit.png")
    masks: dict[str, Path] = {}
    for kind, suffix in _KINDS.items():
        masks = read_tree(labels, (suffix,), f"_{annotations}_{kind}").files | masks
    missing = [name for name in image_tree.files if name not in masks]
    if missing:
        remedy = f"expected CITY/NAME_{annotations}_labelIds.png, or the same with labelTrainIds, or _polygons.json"
        raise missing_masks(labels, missing, len(image_tree.files), split, remedy)
    pairs = [(path, masks[name]) for name, path in image_tree.files.items()]
    return pair_source(f"cityscapes/{split}", CLASSES, pairs, lambda _, mask: read_label(mask))


def read_label(path: Path) -> np.ndarray:
    """Read the train ids `[h, w]` uint8 of a label file.

    Raises:
        ExampleError: the file is missing or unreadable, or has values or labels that do not exist.
    """
    if path.suffix == ".json":
        return draw_polygons(path)
    # Train ids are class ids; `checked_example` checks them.
    return read_mask(path) if path.stem.endswith("TrainIds") else map_values(read_mask(path), LABEL_IDS, str(path))


def draw_polygons(path: Path) -> np.ndarray:
    """Draw the polygons of a JSON file in their order and return the train ids `[h, w]` uint8.

    Deleted objects and license plates are left out; "NAMEgroup" counts as NAME (json2labelImg.py).

    Raises:
        ExampleError: the file is missing or is not such a file, or a label does not exist.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mask = Image.new("L", (content["imgWidth"], content["imgHeight"]), IGNORE_LABEL)
        drawer = ImageDraw.Draw(mask)
        for item in content["objects"]:
            name = _label_name(item, path)
            if name != NOT_DRAWN and not item.get("deleted"):
                drawer.polygon([(float(x), float(y)) for x, y in item["polygon"]], fill=_TRAIN_IDS[name])
    except ExampleError:
        raise
    except FileNotFoundError:
        raise ExampleError("missing", str(path), "no such file", "restore it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is not a file of polygons ({type(error).__name__}: {error})"
        raise ExampleError("unreadable", str(path), problem, "restore the original file") from None
    return np.asarray(mask)


def _label_name(item: dict[str, Any], path: Path) -> str:
    name = item["label"]
    single = name.removesuffix("group")
    known = next((text for text in (name, single) if text in _TRAIN_IDS or text == NOT_DRAWN), None)
    if known is None:
        problem = f"unknown label {name!r}"
        raise ExampleError("value", str(path), problem, "use the labels of cityscapesScripts, helpers/labels.py")
    return known
