"""Whether data are still the same, told from the state of their files."""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

from deeplab.config import DataConfig
from deeplab.datasets.source import Source


def fingerprint(source: Source, config: DataConfig) -> str:
    """Changes with the settings that examples depend on and with the size or time of any file that is read."""
    settings = dataclasses.replace(config, root=None, on_unreadable="stop", eval_size=None, val_size=None)
    text = f"{source.name} {source.classes} {source.size} {settings} {fingerprint_of_files(source.files)}"
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of_files(paths: Iterable[Path]) -> str:
    """Of names, sizes and times of change, wherever the folder lies; a missing file counts as one of no size."""
    digest = hashlib.sha256()
    for path in paths:
        name = f"{path.parent.name}/{path.name}"
        try:
            state = path.stat()
            digest.update(f"{name} {state.st_size} {state.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{name} missing\n".encode())
    return digest.hexdigest()
