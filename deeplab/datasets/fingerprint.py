"""Detection of changed data from the sizes and modification times of its files."""

import dataclasses
import hashlib

from deeplab.config import DataConfig
from deeplab.datasets.source import Source


def fingerprint(source: Source, config: DataConfig) -> str:
    """Return a hash of all settings that affect the examples and of name, size and time of each file.

    It does not depend on the location of the data. A missing file counts by its name.
    """
    settings = dataclasses.replace(config, root=None, on_unreadable="stop", eval_size=None, val_size=None)
    digest = hashlib.sha256(f"{source.name} {source.classes} {source.size} {settings}\n".encode())
    for path in source.files:
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{path.parent.name}/{path.name} {state}\n".encode())
    return digest.hexdigest()
