"""All that a training needs to go on exactly where it was: weights, optimizer, seeds, step."""

import os
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.files import written_aside

KEPT = 2
"""How many of the latest states stay on disk."""

_NAME = re.compile(r"step-(\d+)\.npz")


def save_state(folder: Path, step: int, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Path:
    """Writes the state after `step` updates, whole or not at all, and removes all but the latest few."""
    path = folder / f"step-{step:08d}.npz"
    arrays = {key: np.asarray(variable) for key, variable in _variables(model, optimizer).items()}
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    for old in saved_states(folder)[:-KEPT]:
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


def load_state(path: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> int:
    """Sets `model` and `optimizer` to a saved state; returns its number of updates.

    Raises:
        UserError: the file is damaged or of another network; model and optimizer are then as they were.
    """
    remedy = "remove it: the training goes on from the state before it"
    variables = _variables(model, optimizer)
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


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Every variable by its place: some paths count the layers of their kind that the process has made before."""
    parts = {"model": model.variables, "optimizer": optimizer.variables}
    return {f"{part}/{number}": v for part, variables in parts.items() for number, v in enumerate(variables)}
