"""Files that are whole or not there at all."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeplab.errors import UserError


@contextmanager
def written_aside(path: str | os.PathLike[str], suffix: str = "") -> Iterator[Path]:
    """Gives a path in the same folder to write to; renames it to `path` when the block ends well, removes it when not.

    So a reader, or a machine that is switched off, never meets half a file, and what was there before stays until the
    new file is whole. Missing folders are made.

    Args:
        path: the file to be.
        suffix: what the name aside must end in, for writers that go by the ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def check_place(path: str | os.PathLike[str]) -> None:
    """Whether a file could be written there, asked before the work that it is to hold; nothing is made.

    Raises:
        UserError: the nearest folder that exists is none, or nobody may write into it.
    """
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UserError(str(path), f"{folder} is no folder that can be written to", "choose another place")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes `content` as indented JSON, whole or not at all; NaN is refused, for JSON has none."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        UserError: it cannot be read, is no JSON, or no mapping.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise UserError(str(path), f"is no JSON ({error})", "restore the file, or make it anew") from error
    if not isinstance(content, dict):
        raise UserError(str(path), f"holds a {type(content).__name__}, not a mapping", "restore the file")
    return content
