"""What every source of labeled pictures looks like."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from deeplab.errors import UserError

IGNORE_LABEL = 255
"""Label of pixels that take no part in the loss or in any score (the white border in PASCAL VOC)."""


FaultKind = Literal["missing", "unreadable", "size", "value", "color"]


class ExampleError(UserError):
    """What is wrong with one example.

    Args:
        kind: missing file; unreadable file; picture and mask of different sizes; a value in the mask that is no class;
            a mask of colors that are no classes.
        what: the file.
        problem: what is wrong with it.
        remedy: what to do about it.
        values: for kind "value", all values of the mask.
    """

    def __init__(self, kind: FaultKind, what: str, problem: str, remedy: str, values: tuple[int, ...] = ()) -> None:
        super().__init__(what, problem, remedy)
        self.kind, self.file, self.values = kind, what, values


@dataclass(frozen=True)
class Example:
    """A labeled picture.

    Attributes:
        image: `[h, w, 3]` uint8, RGB.
        label: `[h, w]` uint8, class ids, 255 = ignore.
        name: what messages and files call it.
    """

    image: np.ndarray
    label: np.ndarray
    name: str


@dataclass(frozen=True)
class Source:
    """Random access to the examples of one split; the same index always gives the same example.

    Attributes:
        name: of the data set and split, for messages.
        classes: names by id, background first.
        size: number of examples, None if endless.
        load: gives example number `index`, 0 <= index < size; raises UserError naming the file where it cannot be
            read, where picture and mask differ in size, or where a label is neither a class nor 255.
        names: what the examples are called, by index; () where only `load` knows.
        files: everything that is read, to tell whether it has changed; () where nothing is.
    """

    name: str
    classes: tuple[str, ...]
    size: int | None
    load: Callable[[int], Example]
    names: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def examples(self, limit: int | None = None) -> Iterator[Example]:
        """The first `limit` examples in order; all of them if None (then the source must not be endless)."""
        count = self.size if limit is None else limit if self.size is None else min(limit, self.size)
        if count is None:
            raise ValueError(f"{self.name} is endless: give a limit")
        return (self.load(i) for i in range(count))


def checked_example(
    image: np.ndarray, label: np.ndarray, classes: tuple[str, ...], image_name: str, label_name: str
) -> Example:
    """An example whose picture and label fit each other and the classes.

    Args:
        image: `[h, w, 3]` uint8, RGB.
        label: `[h, w]` uint8.
        classes: names by id.
        image_name: file of the picture, for messages; its stem names the example.
        label_name: file of the label, for messages.

    Raises:
        ExampleError: picture and label differ in size, or a label is neither a class nor 255.
    """
    (h, w), (rows, columns) = image.shape[:2], label.shape
    if (h, w) != (rows, columns):
        turned = "the picture is shown turned (EXIF): save it turned" if (w, h) == (rows, columns) else ""
        remedy = turned or "save the mask at the picture's size, enlarged without smoothing (nearest neighbor)"
        problem = f"the mask is {columns}x{rows} pixels, its picture {image_name} {w}x{h}"
        raise ExampleError("size", label_name, problem, remedy)
    # 255 + 1 wraps to 0, so one pass over the bytes finds the largest label that is not to be ignored.
    largest = int((label + np.uint8(1)).max(initial=0)) - 1
    if largest >= len(classes):
        raise ExampleError(
            "value",
            label_name,
            f"label {largest} with {len(classes)} classes",
            f"labels are 0..{len(classes) - 1}, and 255 for pixels to ignore: correct the mask, name more classes, or "
            "give data.label_ids",
            tuple(np.unique(label).tolist()),
        )
    return Example(image, label, PurePath(image_name).stem)
