"""Locks a run folder and checks that its settings match."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from deeplab.config import TrainConfig, build, to_mapping, with_values
from deeplab.data_check.check import GRID_FILE, REPORT_FILE
from deeplab.errors import UserError
from deeplab.files import list_checkpoints, read_json, write_json
from deeplab.plan.plan import PLAN_FILE
from deeplab.published_weights import published_name
from deeplab.run_folder import (
    FORMER_DEFAULTS,
    STATE_FOLDER,
    TRAIN_FILE,
    WEIGHTS_FILE,
    read_scores,
    read_training_config,
)

CHANGEABLE_SETTINGS = (
    "run",
    "output_stride",
    "image_size",
    "check_data",
    "plan",
    "data.cache_memory",
    "training.devices",
    "training.save_every",
    "training.log_every",
    "training.preview_images",
)
"""Settings that may differ when a training resumes, because they do not affect its weights."""

VALIDATION_SETTINGS = ("output_stride", "image_size")
"""Those of them that affect the weights if validations choose the best ones, or stop the training."""

LOCK_FILE, FIRST_STAGE_FOLDER = ".lock", "first_stage"

START_FILES = {LOCK_FILE, TRAIN_FILE, PLAN_FILE, REPORT_FILE, GRID_FILE}
"""What a run folder contains before the first update, the weights of a pruned network excepted."""

STAGE_KEYS = ("data", "training")


@contextmanager
def lock_run_folder(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder. The system removes the lock when the process ends, also when killed.

    Raises:
        UserError: another process trains in the folder, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK_FILE)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        remedy = "wait until it ends, or choose another run=FOLDER"
        raise UserError(f"run={folder}", "another process trains in this folder", remedy) from None
    except OSError as error:
        raise UserError(f"run={folder}", f"cannot be written ({error.strerror})", "choose another folder") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Remove a run folder that the block creates if it raises UserError before anything is trained.

    The data check stays if it has found an error: its files show which images are wrong.
    """
    created = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        yield
    except UserError:
        if created:
            _remove_start(folder / FIRST_STAGE_FOLDER)
            _remove_start(folder)
            for path in created:
                with contextlib.suppress(OSError):
                    path.rmdir()
        raise


def _remove_start(folder: Path) -> None:
    """Delete a run folder with nothing but the files of a start, except a data check with errors.

    A folder that another process uses, or that cannot be read or written, stays: the error of the start matters more.
    """
    with contextlib.suppress(OSError, UserError):
        if folder.is_dir():
            _remove_start_files(folder)
            folder.rmdir()


def _remove_start_files(folder: Path) -> None:
    """Delete the files of a start, unless the folder has others.

    Raises:
        UserError: another process uses the folder, or the data check is damaged.
    """
    with lock_run_folder(folder):
        if not {path.name for path in folder.iterdir()} <= START_FILES:
            return
        checked = folder / REPORT_FILE
        failed = checked.is_file() and any(p["severity"] == "error" for p in read_json(checked)["problems"])
        for name in START_FILES - ({REPORT_FILE, GRID_FILE} if failed else set()):
            (folder / name).unlink(missing_ok=True)


def has_started(folder: Path) -> bool:
    """Return whether a run folder has weights or checkpoints, so that its settings must not change."""
    has_weights = (folder / WEIGHTS_FILE).is_file() or bool(list_checkpoints(folder / STATE_FOLDER))
    return (folder / TRAIN_FILE).is_file() and has_weights


def check_settings(folder: Path, config: TrainConfig) -> None:
    """Write train.json; if the folder has weights or checkpoints, its settings must match `config`.

    Raises:
        UserError: a setting differs that affects the weights; the message names it.
    """
    read_scores(folder)  # Raises UserError if the scores of a previous evaluation are damaged.
    mapping = to_mapping(_normalized(config))
    path = folder / TRAIN_FILE
    if has_started(folder):
        validations_matter = config.training.result == "best" or config.training.patience is not None
        is_complete = (folder / WEIGHTS_FILE).is_file()
        fixed = VALIDATION_SETTINGS if validations_matter and not is_complete else ()
        current, previous = _flatten(mapping), _flatten(to_mapping(_normalized(read_training_config(folder))))
        for key in sorted(current.keys() | previous.keys()):
            if (key in fixed or key not in CHANGEABLE_SETTINGS) and previous.get(key) != current.get(key):
                problem = f"was trained with {key}={previous.get(key)}, not {current.get(key)}"
                raise UserError(f"run={folder}", problem, "restore the setting, or choose another run=FOLDER")
    mapping.pop("run")
    write_json(path, mapping)


def _normalized(config: TrainConfig) -> TrainConfig:
    """Return the settings as they are stored and compared.

    Paths of the data, the pretrained weights and the teacher are absolute, so that every command finds them from any
    folder. Defaults that are written out are null.
    """
    keys = ("root", "sbd", "colors", "unlabelled")
    changes: dict[str, Any] = {f"data.{key}": _absolute(getattr(config.data, key)) for key in keys}
    for key, value in FORMER_DEFAULTS.items():
        if getattr(config.data, key) == value:
            changes[f"data.{key}"] = None
    changes["pretrained"] = _absolute(config.pretrained)
    changes["training.distillation.teacher"] = _absolute(config.training.distillation.teacher)
    return with_values(config, changes)


def _absolute(path: str | None) -> str | None:
    """Return an absolute path; names of weights and URLs, which TFDS also takes (gs://bucket/folder), stay."""
    if path is None or path == "imagenet" or "://" in path or published_name(path) is not None:
        return path
    return os.path.abspath(path)


def first_stage_config(config: TrainConfig) -> TrainConfig:
    """Return the settings of the first stage, a training whose weights the training of `config` starts from.

    Raises:
        UserError: `config.first_stage` changes anything other than data and training, or has an unknown key.
    """
    changes = dict(config.first_stage or {})
    others = sorted(set(changes) - set(STAGE_KEYS))
    if others:
        remedy = f"only {' and '.join(STAGE_KEYS)} may differ between the stages"
        raise UserError(f"first_stage.{others[0]}", "cannot differ", remedy)
    mapping = to_mapping(config)
    for key, change in changes.items():
        if not isinstance(change, dict):
            raise UserError(f"first_stage.{key}", f"expected a mapping, got {change!r}", "give keys and values")
        mapping[key] = mapping[key] | change
    mapping |= {"run": str(Path(config.run) / FIRST_STAGE_FOLDER), "first_stage": None}
    return build(TrainConfig, mapping, "first_stage")


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one with keys such as "training.steps"; tuples become lists."""
    if not isinstance(value, dict):
        return {path: list(value) if isinstance(value, tuple) else value}
    inner = (_flatten(v, f"{path}.{k}" if path else k) for k, v in value.items() if v or not isinstance(v, dict))
    return {key: item for part in inner for key, item in part.items()}
