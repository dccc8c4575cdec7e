"""What every source of labelled pictures looks like."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

IGNORE_LABEL = 255
"""Label of pixels that take no part in the loss or in any score (the white border in PASCAL VOC)."""


@dataclass(frozen=True)
class Example:
    """A labelled picture.

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
    """

    name: str
    classes: tuple[str, ...]
    size: int | None
    load: Callable[[int], Example]

    def examples(self, limit: int | None = None) -> Iterator[Example]:
        """The first `limit` examples in order; all of them if None (then the source must not be endless)."""
        count = self.size if limit is None else limit if self.size is None else min(limit, self.size)
        if count is None:
            raise ValueError(f"{self.name} is endless: give a limit")
        return (self.load(i) for i in range(count))
