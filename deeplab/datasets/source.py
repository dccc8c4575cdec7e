"""The interface of all data sources: examples by index."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from deeplab.config import DataConfig
from deeplab.errors import UserError

IGNORE_LABEL = 255
"""Label of pixels that are excluded from the loss and from all scores (the white border in PASCAL VOC)."""

ProblemKind = Literal["missing", "unreadable", "size", "value", "color"]


class ExampleError(UserError):
    """A problem with a file of one example.

    Args:
        kind: "missing" or "unreadable" file, image and mask of different "size", a mask "value" that is not a class id,
            or a mask "color" that is not a class color.
        subject, problem, remedy: as in UserError.
        values: for kind "value", the distinct values of the mask.
    """

    def __init__(
        self, kind: ProblemKind, subject: str, problem: str, remedy: str, values: tuple[int, ...] = ()
    ) -> None:
        super().__init__(subject, problem, remedy)
        self.kind, self.values = kind, values


@dataclass(frozen=True)
class Example:
    """A labeled image.

    Attributes:
        image: RGB `[h, w, 3]` uint8.
        label: class ids `[h, w]` uint8, 255 = ignore.
        name: name in messages and file names.
    """

    image: np.ndarray
    label: np.ndarray
    name: str


@dataclass(frozen=True)
class Source:
    """Random access to the examples of one split. An index always returns the same example.

    Attributes:
        name: data set and split, for messages.
        classes: class names by id, background first.
        size: number of examples, None if endless.
        load: returns the example of an index, 0 <= index < size. Raises UserError if a file cannot be read, if image
            and mask differ in size, or if a label is neither a class id nor 255.
        names: names of the examples by index; () if only `load` knows them.
        files: all files that are read (image, mask, image, mask, ... for images on disk), for change detection; () if
            there are none.
        oriented: whether images are turned as their EXIF orientations say.
        unlisted_values: returns the mask values `[n]` uint8 of the pixels of an index that `data.label_ids` does not
            list, without 255; None if it is not set.
        unused: files next to the images and masks that belong to no example.
    """

    name: str
    classes: tuple[str, ...]
    size: int | None
    load: Callable[[int], Example]
    names: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    oriented: bool = True
    unlisted_values: Callable[[int], np.ndarray] | None = None
    unused: tuple[str, ...] = ()

    def examples(self, limit: int | None = None) -> Iterator[Example]:
        """Iterate over the first `limit` examples in order, or over all; an endless source requires a limit."""
        count = self.size if limit is None else limit if self.size is None else min(limit, self.size)
        if count is None:
            raise ValueError(f"{self.name} is endless: give a limit")
        return (self.load(i) for i in range(count))


def checked_example(
    image: np.ndarray, label: np.ndarray, classes: tuple[str, ...], image_name: str, label_name: str
) -> Example:
    """Return an example after checking that image `[h, w, 3]` uint8, label `[h, w]` uint8 and class names match.

    `image_name` and `label_name` are the files, for messages; the stem of the image is the name of the example.

    Raises:
        ExampleError: image and label differ in size, or a label is neither a class id nor 255.
    """
    (h, w), (label_h, label_w) = image.shape[:2], label.shape
    if (h, w) != (label_h, label_w):
        remedy = "save the mask at the image's size, resized with nearest-neighbor interpolation"
        if (w, h) == (label_h, label_w):
            remedy = (
                "the mask is turned by 90 degrees: save it in the orientation in which viewers show the image (EXIF)"
            )
        problem = f"expected {w}x{h} pixels, the size of {image_name}, got {label_w}x{label_h}"
        raise ExampleError("size", label_name, problem, remedy)
    # In uint8, 255 + 1 wraps to 0. A single pass thus finds the largest label other than 255.
    largest = int((label + np.uint8(1)).max(initial=0)) - 1
    if largest >= len(classes):
        problem = f"expected labels 0..{len(classes) - 1} and 255 (ignore), got {largest}"
        remedy = "correct the mask, or name more classes if it is right"
        raise ExampleError("value", label_name, problem, remedy, tuple(np.unique(label).tolist()))
    return Example(image, label, PurePath(image_name).stem)


def fingerprint(source: Source, config: DataConfig) -> str:
    """Return a hash of all settings that affect the examples and of name, size and modification time of each file.

    It does not depend on the location of the data. A missing file counts by its name.
    """
    settings = dataclasses.replace(
        config, root=None, on_unreadable="stop", eval_size=None, val_size=None, resize="none", image_size=None
    )
    settings = dataclasses.replace(settings, cache_memory=DataConfig.cache_memory, unlabelled=None)
    digest = hashlib.sha256(f"{source.name} {source.classes} {source.size} {settings}\n".encode())
    for path in source.files:
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{path.parent.name}/{path.name} {state}\n".encode())
    return digest.hexdigest()
