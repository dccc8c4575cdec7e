"""Makes the plan that a training follows, or reads that of a resumed run."""

import time
import warnings
from pathlib import Path

import tensorflow as tf

from deeplab.config import TrainConfig, is_given
from deeplab.data_check.check import check_before_training
from deeplab.datasets.open import open_training_source
from deeplab.errors import UserError
from deeplab.memory import machine_memory
from deeplab.plan.choice import PLANNED_SOURCES, is_planned
from deeplab.plan.facts import Facts, Trial
from deeplab.plan.fine_tuning import OFFICIAL, OFFICIAL_SMALL
from deeplab.plan.plan import Plan, make_plan, read_plan
from deeplab.plan.rules import fitting_weights
from deeplab.pretrained.importer import check_source
from deeplab.published_weights import local_file
from deeplab.training.distillation import check_teacher
from deeplab.training.distribution import Workers, find_workers
from deeplab.training.run_lock import has_started, lock_run_folder
from deeplab.training.settings import describe_weights
from deeplab.training.trial import measure_explained, measure_trial


def planned_settings(config: TrainConfig, workers: Workers) -> TrainConfig:
    """Return the settings of the plan that a training follows, written to plan.json; `config` if it has none.

    A run that has started keeps its plan. Several workers have none: their settings must be given.

    Raises:
        UserError: the data are unusable, plan.json is damaged, or `minutes` is given for several workers.
    """
    folder = Path(config.run)
    if not is_planned(config):
        if workers.is_chief and not has_started(folder):
            _warn_about_pruning(config)
        return config
    if workers.count > 1:
        _refuse_for_workers(config, "minutes")
        if workers.is_chief:
            print("no plan: several workers follow the settings as given, or else the published recipe")
        return config
    if has_started(folder):
        plan = read_plan(folder)
        return config if plan is None else plan.apply(config)
    _check_sources(config)
    with lock_run_folder(folder):
        plan = _new_plan(config, workers, folder)
        plan.write(folder)
    print(plan.text(), flush=True)
    return plan.apply(config)


def print_plan(config: TrainConfig) -> None:
    """Print the plan of a run that has started, else a new one; nothing is written.

    Raises:
        UserError: the data are unusable, or the training has no plan.
    """
    is_planned(config)
    folder, workers = Path(config.run), find_workers(config.training)
    if workers.count > 1:
        _refuse_for_workers(config, "plan")
    if has_started(folder):
        plan = read_plan(folder)
        if plan is None:
            raise UserError("plan", f"run={folder} was trained without a plan", "choose another run=FOLDER")
        print(f"run={folder} has started; it keeps this plan:")
    else:
        _check_sources(config)
        plan = _new_plan(config, workers, None)
    print(plan.text())


def _warn_about_pruning(config: TrainConfig) -> None:
    """Warn that a pruned network has no plan on own data, unless the user declines a plan or gives the updates."""
    by_hand = config.plan is False or is_given(config, "experiment") or is_given(config, "training.steps")
    if config.prune.enabled and config.data.source in PLANNED_SOURCES and not by_hand:
        training = config.training
        warnings.warn(
            f"no plan is made for a pruned network: it is trained for {training.steps:,} updates of "
            f"{training.batch_size} crops; set training.steps to the number that your time allows",
            stacklevel=3,
        )


def _check_sources(config: TrainConfig) -> None:
    """Raise UserError if the given weights or the teacher cannot be used, before anything is written."""
    if config.pretrained is not None:
        check_source(config.pretrained)
    if config.training.distillation.teacher is not None:
        check_teacher(config, open_training_source(config.data, config.seed).classes)


def _refuse_for_workers(config: TrainConfig, key: str) -> None:
    """Raise UserError if a setting of plans is given; several workers have no plan."""
    if is_given(config, key):
        problem = "cannot be used: several workers follow the settings as given, without a plan"
        raise UserError(key, problem, f"remove {key}, and set training.steps")


def _new_plan(config: TrainConfig, workers: Workers, folder: Path | None) -> Plan:
    """Check the data, writing the results to `folder` unless it is None, and make a plan."""
    began = time.perf_counter()
    report = check_before_training(config.data, folder, config.seed)
    train, val = report.splits
    names = () if is_given(config, "pretrained") else fitting_weights(config)
    given = is_given(config, "pretrained") and config.pretrained not in (None, "imagenet")
    weights = describe_weights(local_file(config.pretrained or "")) if given else None
    facts = Facts(
        report.classes,
        train,
        val,
        minutes=config.minutes,
        has_gpu=bool(tf.config.list_physical_devices("GPU")),
        replicas=workers.replicas,
        memory=machine_memory(),
        given_head=None if weights is None else weights.config.head,
        given_classes=() if weights is None else weights.classes,
        missing_weights=_missing(OFFICIAL) if OFFICIAL in names else None,
        # Needed at once by a network of depth 0.5 only; otherwise if a cheaper recipe is tried.
        missing_small_weights=_missing(OFFICIAL_SMALL) if names == (OFFICIAL_SMALL,) else None,
    )

    def measure(settings: TrainConfig) -> Trial:
        print("Measuring a few updates for the plan ...", flush=True)
        return measure_trial(settings, workers)

    def explain(settings: TrainConfig) -> float | None:
        print("Comparing the classes that the weights predict with the labels ...", flush=True)
        return measure_explained(settings, workers)

    return make_plan(config, facts, measure, explain, lambda: _missing(OFFICIAL_SMALL), began)


def _missing(name: str) -> str | None:
    """Return why published weights cannot be had, with the remedy; None if they can."""
    try:
        local_file(name)
    except UserError as error:
        return str(error)
    return None
