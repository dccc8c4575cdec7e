"""A .tflite file whose graph and metadata are each parsed once."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from deeplab.config import Fit
from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import TfliteGraph, read_graph
from deeplab.tflite.metadata import Metadata, read_metadata

ORIGIN_FILE = "origin.json"
"""Name of the attached file that states how a .tflite file was made."""


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """The bytes of a .tflite file, and its path, or "the model", for messages; it is parsed on first use."""

    name: str
    content: bytes

    @cached_property
    def graph(self) -> TfliteGraph:
        """Operators, tensors and constants; raises UserError if the file is damaged."""
        return read_graph(self.content, self.name)

    @cached_property
    def metadata(self) -> Metadata | None:
        """The TFLite metadata, or None; raises UserError if they are damaged."""
        return read_metadata(self.content, self.name)

    @property
    def origin(self) -> dict[str, Any]:
        """How the file was made, see `ORIGIN_FILE`; empty if it does not state it. Raises UserError if damaged."""
        files = self.metadata.files if self.metadata else {}
        try:
            origin = json.loads(files.get(ORIGIN_FILE, b"{}"))
        except ValueError as error:
            raise UserError(self.name, f"its {ORIGIN_FILE} is damaged ({error})", "export it again") from error
        return origin if isinstance(origin, dict) else {}

    @property
    def fit(self) -> Fit:
        """How images of other sizes meet the file, as it states; "auto" if it does not. Raises UserError if damaged."""
        fit = self.origin.get("fit", "auto")
        if fit not in get_args(Fit):
            raise UserError(self.name, f"its {ORIGIN_FILE} states the unknown fit {fit!r}", "export it again")
        return fit


TfliteSource = str | Path | bytes | TfliteFile
"""Path of a .tflite file, its bytes, or the opened file."""


def open_tflite(source: TfliteSource) -> TfliteFile:
    """Read a .tflite file; a file that is open already is returned as it is.

    Raises:
        UserError: the file cannot be read, or does not have the identifier of a .tflite file.
    """
    if isinstance(source, TfliteFile):
        return source
    if isinstance(source, (bytes, bytearray)):
        name, content = "the model", bytes(source)
    else:
        name = str(source)
        if Path(name).exists() and not Path(name).is_file() and not Path(name).is_dir():
            # Reading a pipe would wait for a writer, and some devices have no end.
            raise UserError(name, "is no regular file", "give the path of a .tflite file")
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise UserError(name, f"cannot be read: {error.strerror}", "give the path of a .tflite file") from error
    if content[4:8] != b"TFL3":
        raise UserError(name, f"is not a .tflite file ({len(content)} bytes)", "give a .tflite file")
    return TfliteFile(name, content)


def report_path(file: str | Path) -> Path:
    """Return the path of the export report of a .tflite file, next to it."""
    return Path(file).with_suffix(".report.json")


def card_path(file: str | Path) -> Path:
    """Return the path of the model card of a .tflite file, next to it."""
    return Path(file).with_suffix(".card.md")
