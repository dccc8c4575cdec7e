"""Atomic file writes, and JSON files."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from deeplab.errors import UserError

MODEL_FILE, WEIGHTS_FILE = "model.json", "model.weights.h5"
"""Architecture and weights in a run folder. Defined here because `pretrained` and `run_folder` both use them."""

CHECKPOINT_NAME = re.compile(r"step-(\d+)\.npz")
"""Name of a state checkpoint, with its number of updates."""


_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-\d+\.deeplab(\..+)?", re.DOTALL)
"""A temporary file: the system and the process that write it, and a number."""
_numbers = itertools.count()
_temporaries: set[Path] = set()
_swept: set[Path] = set()


@contextmanager
def atomic_write(path: str | os.PathLike[str], suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` if the block succeeds, else delete it.

    A reader never sees a partial file, and an existing file is kept until the new one is complete. Missing folders are
    created. Temporary files of processes that were killed are removed from the folder.

    Args:
        path: the final file.
        suffix: suffix of the temporary name, for writers that choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _remove_abandoned(path.parent)
    owner = f"{_system()}-{os.getpid()}-{next(_numbers)}"
    temporary = path.parent / f".{path.name[:45]}.{owner}.deeplab{suffix}"
    # Recorded first: a signal may arrive as soon as the file exists.
    _temporaries.add(temporary)
    try:
        _create(temporary, path)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        _temporaries.discard(temporary)


def _create(temporary: Path, path: Path) -> None:
    """Create an empty temporary file; an error names the final file `path`."""
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_temporaries() -> None:
    """Delete the temporary files of writes that a signal has interrupted, also if it interrupted their deletion."""
    for path in list(_temporaries):
        with contextlib.suppress(OSError):
            path.unlink()
    _temporaries.clear()


@lru_cache(maxsize=1)
def _system() -> str:
    """Return 8 hexadecimal digits that are equal for all processes that can see each other by their number."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
    except OSError:
        return secrets.token_hex(4)


def _remove_abandoned(folder: Path) -> None:
    """Delete the temporary files of processes of this system that have ended, once per folder."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            found = _TEMPORARY.fullmatch(name)
            if found and found[1] == _system() and not _is_running(int(found[2])):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()


def _is_running(process: int) -> bool:
    """Return whether a process exists, also one of another user."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights_file(folder: Path) -> None:
    """Check the weights of a run folder against the checksum in its model.json; older runs state none.

    Raises:
        UserError: the weights are missing, damaged, or of another training.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UserError(str(path), "no such file", "let the training finish, or restore the file")
    description = folder / MODEL_FILE
    expected = read_json(description).get("weights_sha256") if description.is_file() else None
    if expected is not None and (actual := file_sha256(path)) != expected:
        problem = f"is damaged or of another training: expected SHA-256 {str(expected)[:12]}..., got {actual[:12]}..."
        raise UserError(str(path), problem, "restore it, or train again")


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the state checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*.npz") if CHECKPOINT_NAME.fullmatch(path.name))


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that a file could be written at `path`, before the work that produces it; nothing is created.

    Raises:
        UserError: a folder has this name, or the nearest existing parent is not a folder, or is not writable.
    """
    if Path(path).is_dir():
        raise UserError(str(path), "is a folder", "give the name of a file")
    folder = Path(path).absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    # Permissions alone do not tell: the file system may be read-only, or like /proc have no files of users.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"cannot write to {folder} ({error.strerror})"
        raise UserError(str(path), problem, "choose another place") from error


def contains_text(path: Path, text: str) -> bool:
    """Return whether a file contains a text; a file that is missing or cannot be read does not."""
    try:
        return text in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` atomically as indented JSON. NaN raises ValueError because JSON cannot represent it."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Raises:
        UserError: the file cannot be read, is not JSON, or does not hold a mapping.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise UserError(str(path), f"is not valid JSON ({error})", "restore the file, or create it again") from error
    if not isinstance(content, dict):
        raise UserError(str(path), f"holds a {type(content).__name__}, not a mapping", "restore the file")
    return content
