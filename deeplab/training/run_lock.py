"""Whose a run folder is: one process at a time, and one set of settings for good."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from deeplab.config import TrainConfig, build, to_mapping
from deeplab.errors import UserError
from deeplab.files import read_json, write_json
from deeplab.run_folder import STATE_FOLDER, TRAIN_FILE, WEIGHTS_FILE
from deeplab.training.checkpoint import saved_states

FREE_TO_CHANGE = (
    "output_stride",
    "image_size",
    "check_data",
    "training.devices",
    "training.save_every",
    "training.log_every",
    "training.preview_images",
)
"""Settings that a training may go on with although they differ, for they do not touch its weights."""

LOCK, FIRST_STAGE = ".lock", "first_stage"
"""In the run folder: what keeps others out, and the run of a training that comes first."""

STAGE_KEYS = ("data", "training")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of a run folder. The system lifts the lock when the process ends, however it does.

    Raises:
        UserError: another process trains there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        remedy = "wait for its end, or choose another run=FOLDER"
        raise UserError(f"run={folder}", "another process trains in this folder", remedy) from None
    except OSError as error:
        raise UserError(f"run={folder}", f"cannot be written ({error.strerror})", "choose another folder") from error
    try:
        yield
    finally:
        lock.release()


def claim(folder: Path, config: TrainConfig) -> None:
    """Writes the settings into the run folder; those of a run that has begun to learn must be the same.

    Raises:
        UserError: a setting that the weights depend on differs, by name.
    """
    wanted = to_mapping(config)
    path = folder / TRAIN_FILE
    if path.is_file() and ((folder / WEIGHTS_FILE).is_file() or saved_states(folder / STATE_FOLDER)):
        here, there = _flat(wanted), _flat(to_mapping(build(TrainConfig, read_json(path))))
        for key in sorted(here.keys() | there.keys()):
            before, now = there.get(key), here.get(key)
            if key not in ("run", *FREE_TO_CHANGE) and before != now:
                problem = f"was trained with {key}={before}, not {now}"
                raise UserError(f"run={folder}", problem, "set it back, or choose another run=FOLDER")
    wanted.pop("run")
    write_json(path, wanted)


def first_stage_of(config: TrainConfig) -> TrainConfig:
    """The settings of the training that comes before that of `config`.

    Raises:
        UserError: `config.first_stage` changes something else than data and training, or has a wrong key.
    """
    changes = dict(config.first_stage or {})
    others = sorted(set(changes) - set(STAGE_KEYS))
    if others:
        raise UserError(f"first_stage.{others[0]}", "cannot differ", f"a stage has its own {' and '.join(STAGE_KEYS)}")
    mapping = to_mapping(config)
    for key, change in changes.items():
        if not isinstance(change, dict):
            raise UserError(f"first_stage.{key}", f"{change!r} is no mapping", "give keys and values")
        mapping[key] = mapping[key] | change
    mapping |= {"run": str(Path(config.run) / FIRST_STAGE), "first_stage": None}
    return build(TrainConfig, mapping, "first_stage")


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings as one, "training.steps" for the key; lists and tuples alike."""
    if not isinstance(value, dict):
        return {path: list(value) if isinstance(value, tuple) else value}
    inner = (_flat(v, f"{path}.{k}" if path else k) for k, v in value.items() if v or not isinstance(v, dict))
    return {key: item for part in inner for key, item in part.items()}
