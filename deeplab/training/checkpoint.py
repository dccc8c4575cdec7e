"""All that a training needs to go on exactly where it was: weights, averages, optimizer, loss scale, seeds, step."""

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.errors import UserError
from deeplab.files import atomic_write

Parts = Mapping[str, Sequence[Any]]
"""Variables by what they are of: "model", "optimizer", "average"."""

_NAME = re.compile(r"step-(\d+)\.npz")


def save_state(folder: Path, step: int, parts: Parts, keep: int) -> Path:
    """Writes the state after `step` updates, whole or not at all, and removes all but the latest `keep`."""
    path = folder / f"step-{step:08d}.npz"
    arrays = {key: np.asarray(variable) for key, variable in _variables(parts).items()}
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    for old in saved_states(folder)[:-keep]:
        old.unlink()
    return path


def saved_states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*.npz") if _NAME.fullmatch(path.name))


def step_of(path: Path) -> int:
    """How many updates the state at `path` has seen."""
    found = _NAME.fullmatch(path.name)
    if not found:
        raise ValueError(f"{path} is no saved state")
    return int(found.group(1))


def load_state(path: Path, parts: Parts) -> int:
    """Sets the variables of `parts` to a saved state; returns its number of updates.

    Raises:
        UserError: the file is damaged or of another network; no variable has changed then.
    """
    remedy = "remove it: the training goes on from the state before it"
    variables = _variables(parts)
    try:
        with np.load(path) as saved:
            arrays = {key: saved[key] for key in saved.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(str(path), f"is damaged ({str(error).splitlines()[0]})", remedy) from error
    wrong = [k for k in variables if k not in arrays or arrays[k].shape != tuple(variables[k].shape)]
    if wrong or len(arrays) != len(variables):
        raise UserError(str(path), f"is of another network ({len(wrong)} variables differ)", remedy)
    for key, variable in variables.items():
        variable.assign(arrays[key])
    return step_of(path)


def _variables(parts: Parts) -> dict[str, Any]:
    """Every variable by its place: some paths count the layers of their kind that the process has made before."""
    return {f"{part}/{number}": v for part, variables in parts.items() for number, v in enumerate(variables)}
