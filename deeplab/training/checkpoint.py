"""State checkpoints: everything an interrupted training needs to resume with bit-identical results.

A checkpoint holds the weights, their moving averages, the optimizer's variables, the loss scale, the seeds of dropout
and the number of updates.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.errors import UserError
from deeplab.files import CHECKPOINT_NAME, atomic_write, list_checkpoints

Parts = Mapping[str, Sequence[Any]]
"""Variables by the part of the training that they belong to: "model", "optimizer", "average"."""


def save_checkpoint(folder: Path, step: int, parts: Parts, keep: int) -> Path:
    """Write the checkpoint after `step` updates atomically, and remove all but the latest `keep` checkpoints."""
    path = folder / f"step-{step:08d}.npz"
    arrays = {key: np.asarray(variable) for key, variable in _variables(parts).items()}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def checkpoint_step(path: Path) -> int:
    """Return the number of updates that the checkpoint at `path` has made."""
    match = CHECKPOINT_NAME.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not a checkpoint")
    return int(match.group(1))


def load_checkpoint(path: Path, parts: Parts) -> int:
    """Assign the values of a checkpoint to the variables of `parts`; return its number of updates.

    Raises:
        UserError: the file is damaged or belongs to another network; no variable has been changed.
    """
    remedy = "remove it: the training then resumes from the previous checkpoint"
    variables = _variables(parts)
    try:
        with np.load(path) as saved:
            arrays = {key: saved[key] for key in saved.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(str(path), f"is damaged ({str(error).splitlines()[0]})", remedy) from error
    wrong = [k for k in variables if k not in arrays or arrays[k].shape != tuple(variables[k].shape)]
    if wrong or len(arrays) != len(variables):
        raise UserError(str(path), f"belongs to another network ({len(wrong)} variables differ)", remedy)
    for key, variable in variables.items():
        variable.assign(arrays[key])
    return checkpoint_step(path)


def _variables(parts: Parts) -> dict[str, Any]:
    """Return the variables by part and index; paths are not stable, some count the layers made in the process."""
    return {f"{part}/{number}": v for part, variables in parts.items() for number, v in enumerate(variables)}
