"""The files below a folder, by name without suffix."""

import os
from dataclasses import dataclass
from pathlib import Path

from deeplab.errors import UserError

_NOT_IMAGES = (".txt", ".csv", ".json", ".xml", ".yaml", ".yml", ".md", ".html", ".ini", ".db")
"""Suffixes of notes and lists, which may lie next to images."""


@dataclass(frozen=True)
class FileTree:
    """The visible files below a folder.

    Attributes:
        files: the files with the requested suffixes by their path in the folder without suffix ("city/image"), sorted.
        folders: the direct sub-folders that contain such files, sorted.
        others: paths of the other files, without hidden files, lists and notes, sorted.
    """

    files: dict[str, Path]
    folders: tuple[str, ...]
    others: tuple[str, ...]


def read_tree(folder: Path, suffixes: tuple[str, ...], ending: str = "") -> FileTree:
    """Read the names of all files below `folder`, one call of the system per folder and none per file.

    Args:
        folder: an existing folder.
        suffixes: suffixes of the requested files, in lower case.
        ending: end of the names of the requested files before the suffix; it is removed from their names.

    Raises:
        UserError: two files have the same name without suffix.
    """
    files: dict[str, Path] = {}
    folders: set[str] = set()
    others: list[str] = []
    for place, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        prefix = os.path.relpath(place, folder).replace(os.sep, "/") + "/"
        prefix = "" if prefix == "./" else prefix
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if name.startswith("."):
                continue
            if suffix.lower() not in suffixes or not stem.endswith(ending):
                if suffix.lower() not in _NOT_IMAGES:
                    others.append(prefix + name)
                continue
            key = prefix + stem.removesuffix(ending)
            path = Path(place, name)
            if key in files:
                raise UserError(str(path), f"has the same stem as {files[key].name}", "remove one of them")
            files[key] = path
            if prefix:
                folders.add(prefix.partition("/")[0])
    return FileTree(files, tuple(sorted(folders)), tuple(sorted(others)))
