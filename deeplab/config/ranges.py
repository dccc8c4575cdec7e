"""Ranges of settings, declared with their types, next to their defaults: `steps: PositiveInt = 30_000`."""

import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Range:
    """A range of finite numbers.

    Attributes:
        text: the range in words, as in "a number above 0"; it states both ends, or the lower one if the upper one is
            far above all sensible values.
        low: lower end.
        high: upper end.
        open_low: whether the lower end is excluded.
        open_high: whether the upper end is excluded.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether `value` is finite and in the range."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def expected(self, value: float) -> str:
        """Return the range in words for a message about `value`, including an upper end that `text` leaves out."""
        hidden = value > self.high and not any(word in self.text for word in ("to", "at most", "below"))
        return self.text + f" and at most {self.high:,.0f}" * hidden


MAY_BE_EMPTY = Range("")
"""Marks text that may be empty; all other text must not be."""
OptionalText = Annotated[str, MAY_BE_EMPTY]
_POSITIVE, _NON_NEGATIVE = Range("above 0", 0, 1e9, open_low=True), Range("of 0 or more", 0, 1e9)
PositiveInt = Annotated[int, _POSITIVE]
NonNegativeInt = Annotated[int, _NON_NEGATIVE]
Side = Annotated[int, Range("from 33 to 1,000,000", 33, 1_000_000)]
"""Side of an image in pixels; the network pads smaller images to 33."""
Channels = Annotated[int, Range("from 1 to 100,000", 1, 100_000)]
ClassId = Annotated[int, Range("from 0 to 254", 0, 254)]
"""Class id in a label; 255 means ignore."""
AtrousRate = Annotated[int, Range("from 1 to 1,000", 1, 1000)]
Threads = Annotated[int, Range("from 1 to 1,024", 1, 1024)]
OutputStride = Literal[4, 8, 16, 32]
Seed = Annotated[int, Range("from 0 to 2^32 - 1", 0, 2**32 - 1)]
PositiveFloat = Annotated[float, _POSITIVE]
NonNegativeFloat = Annotated[float, _NON_NEGATIVE]
UnitFloat = Annotated[float, Range("from 0 to 1", 0, 1)]
BelowOneFloat = Annotated[float, Range("from 0 to below 1", 0, 1, open_high=True)]
ScaleFactor = Annotated[float, Range("from 0.05 to 20", 0.05, 20)]
FractionFloat = Annotated[float, Range("above 0 and at most 1", 0, 1, open_low=True)]


def values_out_of_range(hint: Any, value: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, hint, value) of each number in `value` that violates a range in `hint`.

    Args:
        hint: the type, with extras.
        value: a value of this type.
        where: the path of the value.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if isinstance(value, (int, float)) and value not in args[1]:
            yield where, hint, value
    elif origin in (typing.Union, types.UnionType):
        for option in args:
            if isinstance(value, tuple) == (typing.get_origin(option) is tuple):
                yield from values_out_of_range(option, value, where)
    elif origin is tuple and isinstance(value, tuple):
        for index, element in enumerate(value):
            inner = args[0] if args[-1] is Ellipsis else args[index]
            yield from values_out_of_range(inner, element, f"{where}[{index}]")
    elif origin is dict and isinstance(value, dict):
        for key, element in value.items():
            yield from values_out_of_range(args[1], element, f"{where}.{key}")
