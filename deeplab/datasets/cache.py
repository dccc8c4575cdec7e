"""Decoded pictures kept, in memory or on disk."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from deeplab.files import written_aside


def cached(source: Source, place: str, fingerprint: str) -> Source:
    """The same source, decoding each example only the first time it is asked for.

    Costs four bytes a pixel: 0.75 MB for a VOC picture, 8 GB for train_aug.

    Args:
        source: one of a known size; an endless one is given back as it is.
        place: "memory", or a folder; each state of the data has a sub-folder of its own there.
        fingerprint: of the source's data.

    Raises:
        UserError: the folder cannot be written.
    """
    if source.size is None:
        return source
    if place == "memory":
        return dataclasses.replace(source, load=_in_memory(source))
    return dataclasses.replace(source, load=_on_disk(source, Path(place) / fingerprint[:16]))


def _in_memory(source: Source) -> Callable[[int], Example]:
    kept: dict[int, Example] = {}

    def load(index: int) -> Example:
        if index not in kept:
            kept[index] = source.load(index)
        return kept[index]

    return load


def _on_disk(source: Source, folder: Path) -> Callable[[int], Example]:
    """Each example as one array `[h, w, 4]`, the label behind the colours, and its name in the file's own."""

    def load(index: int) -> Example:
        path = folder / f"{index}.npy"
        try:
            pixels = np.load(path)
            name = source.names[index] if source.names else path.with_suffix(".txt").read_text(encoding="utf-8")
            return Example(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]), name)
        except (OSError, ValueError, EOFError):
            # Not there yet, or damaged: made anew.
            example = source.load(index)
        try:
            if not source.names:
                with written_aside(path.with_suffix(".txt")) as aside:
                    aside.write_text(example.name, encoding="utf-8")
            with written_aside(path, ".npy") as aside:
                np.save(aside, np.dstack([example.image, example.label]))
        except OSError as error:
            raise UserError(
                f"data.cache={folder.parent}", f"cannot be written ({error})", "free space, or leave it out"
            ) from None
        return example

    return load
