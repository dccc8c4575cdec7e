"""Conversion of masks to class ids: from colors, or from other values."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml  # type: ignore[import-untyped]

from deeplab.config.class_names import check_class_names
from deeplab.datasets.source import IGNORE_LABEL, ExampleError
from deeplab.errors import UserError

_UNKNOWN = 254
"""Marks values and colors without a class in a lookup table; the class ids are smaller."""

Color = tuple[int, int, int]
"""(red, green, blue), each 0..255."""


@dataclass(frozen=True)
class ColorTable:
    """Names and colors of the classes by id, the color of pixels to ignore, if any, and the file that defines them."""

    path: Path
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    ignored: Color | None


def read_colors(path: Path) -> ColorTable:
    """Read a YAML mapping from class names, background first, to [red, green, blue]; the name `ignore` is no class.

    Raises:
        UserError: the file is missing or not such a mapping, or a color is out of range or repeated.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content, node = yaml.safe_load(text), yaml.compose(text)
    except FileNotFoundError:
        raise UserError(f"data.colors={path}", "no such file", "give a YAML file with a color per class") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"data.colors={path}", f"cannot be read ({error})", "name: [red, green, blue]") from None
    if not isinstance(content, dict) or not content:
        remedy = "write one line per class: name: [red, green, blue]"
        raise UserError(str(path), f"expected a mapping, got {content!r}", remedy)
    keys = [key.value for key, _ in node.value]
    if len(keys) > len(content):
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise UserError(str(path), f"names {repeated} twice", "give each class one color")
    table: dict[str, Color] = {}
    for name, value in content.items():
        if not (isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)):
            problem = f"{name}: expected a color, got {value!r}"
            raise UserError(str(path), problem, "give [red, green, blue], each 0..255")
        same = [other for other, color in table.items() if list(color) == value]
        if same:
            raise UserError(str(path), f"{same[0]} and {name} are both {value}", "use a color per class")
        table[str(name)] = (value[0], value[1], value[2])
    ignored = table.pop("ignore", None)
    if not 1 <= len(table) <= _UNKNOWN:
        problem = f"expected 1 to {_UNKNOWN} classes, got {len(table)}"
        raise UserError(str(path), problem, "name: [red, green, blue]")
    return ColorTable(path, check_class_names(tuple(table), str(path)), tuple(table.values()), ignored)


def ids_of_colors(mask: np.ndarray, table: ColorTable, name: str) -> np.ndarray:
    """Return the class ids `[h, w]` uint8 of a color mask `[h, w, 3]` uint8 that messages call `name`.

    Raises:
        ExampleError: a color is not in the table. The message states its first position and the affected share.
    """
    wide = mask.astype(np.uint32)
    ids = _color_lookup_table(table)[wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]]
    unknown = ids == _UNKNOWN
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        color = mask[row, column].tolist()
        nearest = int(np.abs(np.array(table.colors) - color).sum(1).argmin())
        problem = (
            f"color {color} at row {row}, column {column} is not in {table.path} (nearest: {table.classes[nearest]} "
            f"{list(table.colors[nearest])}), and {unknown.mean():.1%} of the mask has unknown colors"
        )
        remedy = "add the color, or save masks as PNG without smoothing"
        raise ExampleError("color", name, problem, remedy)
    return ids


def ids_of_values(label: np.ndarray, label_ids: tuple[int, ...] | None) -> np.ndarray:
    """Return class ids `[h, w]` uint8: value `label_ids[i]` becomes class i, every other 255; None changes nothing."""
    if label_ids is None:
        return label
    table = np.full(256, IGNORE_LABEL, np.uint8)
    table[list(label_ids)] = np.arange(len(label_ids))
    return table[label]


def lookup_table(ids: Mapping[int, int]) -> np.ndarray:
    """Return the table `[256]` uint8 of `map_values` from a mapping of mask values to class ids 0..253 or 255."""
    table = np.full(256, _UNKNOWN, np.uint8)
    table[list(ids)] = list(ids.values())
    return table


def map_values(values: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
    """Return the class ids `[h, w]` uint8 of mask values `[h, w]` uint8 that messages call `name`.

    Raises:
        ExampleError: the table, see `lookup_table`, does not contain a value.
    """
    ids = table[values]
    unknown = ids == _UNKNOWN
    if unknown.any():
        present, known = np.unique(values), np.flatnonzero(table != _UNKNOWN)
        problem = f"expected mask values {_ranges(known)}, got {int(values[unknown].max())}"
        raise ExampleError("value", name, problem, "restore the original mask", tuple(present.tolist()))
    return ids


def unlisted_values(label: np.ndarray, label_ids: tuple[int, ...]) -> np.ndarray:
    """Return the values `[n]` of the pixels of a mask that `label_ids` does not list, without 255."""
    return label[~np.isin(label, (*label_ids, IGNORE_LABEL))]


def check_label_ids(label_ids: tuple[int, ...] | None, classes: tuple[str, ...]) -> None:
    """Raise UserError unless `label_ids` is None or has a distinct value 0..255 for each class."""
    if label_ids is None:
        return
    key = f"data.label_ids={list(label_ids)}"
    if len(label_ids) != len(classes):
        raise UserError(key, f"expected {len(classes)} values, got {len(label_ids)}", "give one value per class")
    if len(set(label_ids)) != len(label_ids) or not all(0 <= value <= 255 for value in label_ids):
        raise UserError(key, "expected distinct values 0..255", "give one value per class")


def _ranges(values: np.ndarray) -> str:
    """Describe ascending integers: "0..18 and 255"."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return " and ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


@functools.lru_cache(maxsize=2)
def _color_lookup_table(table: ColorTable) -> np.ndarray:
    """Return the class id of every 24-bit color (16 MiB): much faster than a search for each pixel."""
    ids = np.full(1 << 24, _UNKNOWN, np.uint8)
    entries = [*enumerate(table.colors), *([(IGNORE_LABEL, table.ignored)] if table.ignored else [])]
    for i, (red, green, blue) in entries:
        ids[red << 16 | green << 8 | blue] = i
    return ids
