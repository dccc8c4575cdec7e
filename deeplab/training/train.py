"""The training command, from settings to a run folder with scores."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import keras

from deeplab.config import TrainConfig
from deeplab.config.mapping import require
from deeplab.data_check.check import check_before_training
from deeplab.errors import UserError
from deeplab.evaluation.scores import Scores
from deeplab.files import list_checkpoints
from deeplab.pretrained.importer import check_source
from deeplab.run_folder import SCORES_FILE, STATE_FOLDER
from deeplab.training.distribution import (
    Workers,
    broadcast_value,
    check_batch_size,
    find_workers,
    report_lost_workers,
)
from deeplab.training.planning import planned_settings, print_plan
from deeplab.training.run_lock import first_stage_config, lock_run_folder, removed_if_refused
from deeplab.training.settings import complete_settings, pruned_network
from deeplab.training.summary import summary
from deeplab.training.training_run import TrainingRun


def train(config: TrainConfig, callbacks: Sequence[keras.callbacks.Callback] = ()) -> dict[int, Scores]:
    """Train a model, or resume an interrupted training, and evaluate it.

    Writes the run folder `config.run` (see `deeplab.run_folder`). A run that is complete is only evaluated again. With
    several workers, each calls this function with the same settings; the chief writes and evaluates.

    Args:
        config: all settings.
        callbacks: additional Keras callbacks, called for every update; see `deeplab.training.loop.run_loop`.

    Returns:
        The scores on the validation split at each of `config.output_stride`; {} except on the chief.

    Raises:
        UserError: the data, the pretrained weights or the run folder are wrong; the loss is not finite; a signal
            stopped the training; another worker was lost. A start that is refused leaves no run folder that it created,
            except with a data check that has found an error, or with a pruned network.
    """
    require("config", type(config).__name__, isinstance(config, TrainConfig), "a TrainConfig")
    workers = find_workers(config.training)
    cleaning_up = removed_if_refused(Path(config.run)) if workers.is_chief else nullcontext()
    with report_lost_workers(workers), cleaning_up:
        config = _checked_settings(planned_settings(config, workers), workers)
        if config.prune.enabled:
            config, pruned = pruned_network(config, workers)
            return _train_stage(config, pruned, workers, callbacks)
        if config.first_stage is None:
            return _train_stage(config, config.pretrained, workers, callbacks)
        first = _checked_settings(first_stage_config(config), workers)
        if not broadcast_value(workers, (Path(first.run) / SCORES_FILE).is_file()):
            _train_stage(first, first.pretrained, workers, callbacks)
        return _train_stage(config, first.run, workers, callbacks)


def run_training(config: TrainConfig) -> None:
    """Train, or only check the data or print the plan; print the result."""
    if config.check_data:
        check_before_training(config.data, Path(config.run), config.seed, full=True)
        return
    if config.plan:
        print_plan(config)
        return
    scores = train(config)
    if scores:
        print("\n".join(summary(Path(config.run), scores)))


def _checked_settings(config: TrainConfig, workers: Workers) -> TrainConfig:
    """Return the complete settings of a stage, checked before any stage is trained or the network is pruned.

    Raises:
        UserError: as `complete_settings`; settings need validations that are not made; a batch cannot be divided among
            the replicas.
    """
    config = complete_settings(config, workers)
    config.training.require_validations()
    check_batch_size(config.training, workers)
    return config


def _train_stage(
    config: TrainConfig, pretrained: str | None, workers: Workers, callbacks: Sequence[keras.callbacks.Callback]
) -> dict[int, Scores]:
    """Train one stage, from the weights `pretrained`."""
    run = TrainingRun(config, workers)
    if workers.is_chief:
        _check_pretrained(run, pretrained)
    with lock_run_folder(run.folder) if workers.is_chief else nullcontext():
        run.prepare()
        run.restore(pretrained)
        run.fit(callbacks)
        return run.finish()


def _check_pretrained(run: TrainingRun, pretrained: str | None) -> None:
    """Raise UserError if pretrained weights are missing or damaged, before anything is written; for a new run."""
    if list_checkpoints(run.folder / STATE_FOLDER):
        return
    if pretrained is not None:
        check_source(pretrained)
    elif run.config.training.quantize_aware:
        problem = "quantization-aware training needs pretrained weights"
        raise UserError("pretrained", problem, "set it to the run of a float training")
    elif images := run.config.training.linear_probe_images:
        problem = f"training.linear_probe_images={images} needs pretrained weights"
        raise UserError("pretrained", problem, "set it to the weights, or set training.linear_probe_images=0")
