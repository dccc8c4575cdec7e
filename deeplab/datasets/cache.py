"""Examples kept in memory, so that each file is decoded once."""

import dataclasses
import logging
import threading
from pathlib import Path

from deeplab.datasets.source import Example, Source

_log = logging.getLogger(__name__)

_FileStates = tuple[tuple[int, int] | None, ...]
"""Size and modification time of each file of an example; None for a missing file."""


def cached_source(source: Source, limit: int) -> Source:
    """Return a source that keeps the examples it has loaded, up to `limit` bytes; others are loaded again each time.

    The order of a training is a new permutation in each epoch, so that replacing kept examples would gain nothing. An
    example is loaded again if size or modification time of one of its files has changed. A line is logged once the
    limit is reached.
    """
    kept: dict[int, tuple[_FileStates, Example]] = {}
    lock, used, full = threading.Lock(), 0, False

    def load(index: int) -> Example:
        nonlocal used, full
        states = _states(_files_of(source, index))
        found = kept.get(index)
        if found is not None and found[0] == states:
            return found[1]
        example = source.load(index)
        size = _bytes(example)
        with lock:
            used -= _bytes(kept.pop(index)[1]) if index in kept else 0
            if used + size <= limit:
                kept[index], used = (states, example), used + size
            elif not full:
                full = True
                text = "%s: %d of %s resized images fill %.1f GiB of memory; the others are decoded again each time"
                _log.warning(text + " (data.cache_memory)", source.name, len(kept), source.size, limit / 2**30)
        return example

    return dataclasses.replace(source, load=load)


def _files_of(source: Source, index: int) -> tuple[Path, ...]:
    """Return image and mask of an example; () for sources of other files, which are prepared once and do not change."""
    pairs = source.size is not None and len(source.files) == 2 * source.size
    return source.files[2 * index : 2 * index + 2] if pairs else ()


def _states(files: tuple[Path, ...]) -> _FileStates:
    states: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
            states.append((status.st_size, status.st_mtime_ns))
        except OSError:
            states.append(None)
    return tuple(states)


def _bytes(example: Example) -> int:
    return example.image.nbytes + example.label.nbytes
