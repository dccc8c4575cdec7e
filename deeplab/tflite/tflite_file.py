"""A .tflite file whose parts are each read once."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab.tflite.flatbuffer import TfliteGraph, read_file, read_graph

if TYPE_CHECKING:
    from deeplab.tflite.metadata import Metadata


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """A .tflite file; its graph and its metadata are parsed on first use and kept.

    Attributes:
        name: the path, for messages; "the model" if only bytes were given.
        content: the bytes of the file.
    """

    name: str
    content: bytes

    @cached_property
    def graph(self) -> TfliteGraph:
        """Operators, tensors and constants; raises UserError if the file is damaged."""
        return read_graph(self.content, self.name)

    @cached_property
    def metadata(self) -> "Metadata | None":
        """The TFLite metadata, or None; raises UserError if they are damaged."""
        from deeplab.tflite.metadata import read_metadata

        return read_metadata(self.content, self.name)


TfliteSource = str | Path | bytes | TfliteFile
"""Path of a .tflite file, its bytes, or the opened file."""


def open_tflite(source: TfliteSource) -> TfliteFile:
    """Read a .tflite file; a file that is open already is returned as it is.

    Raises:
        UserError: the file does not exist, or is not a .tflite file.
    """
    return source if isinstance(source, TfliteFile) else TfliteFile(*read_file(source))
