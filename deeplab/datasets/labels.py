"""Class ids out of masks that hold something else: colors, or values of another numbering."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml  # type: ignore[import-untyped]

from deeplab.datasets.source import IGNORE_LABEL, ExampleError
from deeplab.errors import UserError

_UNKNOWN = 254
_MOST_CLASSES = 254


@dataclass(frozen=True)
class ColorTable:
    """The colors of a set of color masks.

    Attributes:
        path: the file it was read from, for messages.
        classes: names by id.
        colors: (red, green, blue) by id, 0..255.
        ignored: the color of pixels to ignore, if there is one.
    """

    path: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignored: tuple[int, int, int] | None = None


def read_colors(path: Path) -> ColorTable:
    """A color table: a YAML mapping of class names, background first, to [red, green, blue]; `ignore` is no class.

    Raises:
        UserError: missing, no such mapping, a color out of range or given twice.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"data.colors={path}", "no such file", "a YAML file with a color for each class") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"data.colors={path}", f"cannot be read ({error})", "name: [red, green, blue]") from None
    if not isinstance(content, dict) or not content:
        raise UserError(str(path), f"holds {content!r}, not a mapping", "one line a class, name: [red, green, blue]")
    table = {str(name): _color(path, name, value) for name, value in content.items()}
    ignored = table.pop("ignore", None)
    seen: dict[tuple[int, int, int], str] = {}
    for name, color in [*table.items(), *([("ignore", ignored)] if ignored else [])]:
        if color in seen:
            raise UserError(str(path), f"{seen[color]} and {name} are both {list(color)}", "each class has a color")
        seen[color] = name
    if len(table) > _MOST_CLASSES:
        raise UserError(str(path), f"{len(table)} classes", f"at most {_MOST_CLASSES}")
    return ColorTable(str(path), tuple(table), tuple(table.values()), ignored)


def ids_of_colors(mask: np.ndarray, table: ColorTable, name: str) -> np.ndarray:
    """Class ids `[h, w]` uint8 of a color mask `[h, w, 3]` uint8 that messages call `name`.

    Raises:
        ExampleError: a color that the table lacks; says where it is first met and how much of the mask has it.
    """
    wide = mask.astype(np.uint32)
    ids = _lookup(table)[wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]]
    unknown = ids == _UNKNOWN
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        color = mask[row, column].tolist()
        distances = [sum(abs(a - b) for a, b in zip(color, known, strict=True)) for known in table.colors]
        nearest = int(np.argmin(distances))
        raise ExampleError(
            "color",
            name,
            f"color {color} at row {row}, column {column} is not in {table.path} (nearest: {table.classes[nearest]} "
            f"{list(table.colors[nearest])}); {unknown.mean():.1%} of the mask has no known color",
            "add the color, or save masks without compression and smoothing (PNG)",
        )
    return ids


def ids_of_values(label: np.ndarray, label_ids: tuple[int, ...]) -> np.ndarray:
    """Class ids `[h, w]` uint8: value `label_ids[i]` is class i, every other value is ignored."""
    table = np.full(256, IGNORE_LABEL, np.uint8)
    table[list(label_ids)] = np.arange(len(label_ids))
    return table[label]


def checked_label_ids(label_ids: tuple[int, ...] | None, classes: tuple[str, ...]) -> None:
    """Raises UserError unless there is one value of a byte for each class, none twice."""
    if label_ids is None:
        return
    if len(label_ids) != len(classes):
        raise UserError(
            f"data.label_ids={list(label_ids)}", f"{len(label_ids)} values for {len(classes)} classes", "one for each"
        )
    if len(set(label_ids)) != len(label_ids) or not all(0 <= value <= 255 for value in label_ids):
        raise UserError(f"data.label_ids={list(label_ids)}", "values repeat or leave 0..255", "one for each class")


def _color(path: Path, name: object, value: object) -> tuple[int, int, int]:
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return (value[0], value[1], value[2])
    raise UserError(str(path), f"{name}: {value!r} is no color", "give [red, green, blue], each 0..255")


@functools.lru_cache(maxsize=2)
def _lookup(table: ColorTable) -> np.ndarray:
    """The id of every color there is, 16 MiB: far quicker than a search for each pixel."""
    ids = np.full(1 << 24, _UNKNOWN, np.uint8)
    for i, (red, green, blue) in enumerate(table.colors):
        ids[red << 16 | green << 8 | blue] = i
    if table.ignored is not None:
        red, green, blue = table.ignored
        ids[red << 16 | green << 8 | blue] = IGNORE_LABEL
    return ids
