"""A whole training, from settings to a run folder with scores."""

import dataclasses
import itertools
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab.config import ModelConfig, TrainConfig
from deeplab.data_check.check import check_before_training
from deeplab.data_check.class_weights import class_weights, training_counts
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.confusion import Scores
from deeplab.model.quantization.transform import measure_ranges
from deeplab.run_folder import (
    LOG_FILE,
    SCORES_FILE,
    STATE_FOLDER,
    ModelDescription,
    load_weights,
    save_model,
    save_scores,
)
from deeplab.training.batch_norm_training import recalibrate, warn_of_statistics
from deeplab.training.callbacks import CsvLog, ProgressBar, SaveState, TensorBoard
from deeplab.training.checkpoint import load_state, save_state, saved_states
from deeplab.training.distribution import (
    Machines,
    as_variable,
    batches_of,
    find_machines,
    from_first,
    lost_workers_told,
)
from deeplab.training.interrupt import StopOnSignal
from deeplab.training.loop import run_loop
from deeplab.training.run_lock import alone_in, claim, first_stage_of
from deeplab.training.train_state import TrainState, make_train_state
from deeplab.training.train_step import averaged_variables, make_train_step
from deeplab.training.training_page import TrainingPage
from deeplab.training.validation import BEST_WEIGHTS, Validate, Validation

KEPT_CHECKPOINTS = 2
"""Number of state checkpoints that stay on disk."""

RESTATED_BATCHES = 4
"""How many batches measure the statistics of batch norms that were folded in a file and are to be trained."""


def train(config: TrainConfig, callbacks: Sequence[keras.callbacks.Callback] = ()) -> dict[int, Scores]:
    """Trains a model, or goes on with a training that was cut off, and measures it.

    Writes the run folder `config.run` (see `deeplab.run_folder`). A run that is complete is only measured again. On several
    machines each calls this with the same settings; the first writes, and measures.

    Args:
        config: all settings.
        callbacks: Keras callbacks of your own; they see every update.

    Returns:
        The scores on the validation split at each of `config.output_stride`; none but on the first machine.

    Raises:
        UserError: the data, the pretrained weights or the run folder are not as they should be; the loss is no longer
            finite; a signal ended the training, or another machine is gone.
    """
    machines = find_machines(config.training)
    with lost_workers_told(machines):
        if config.first_stage is not None:
            first = first_stage_of(config)
            if _wanted(first, machines):
                _train(first, first.pretrained, machines, callbacks)
            return _train(config, first.run, machines, callbacks)
        return _train(config, config.pretrained, machines, callbacks)


def _train(
    config: TrainConfig, pretrained: str | None, machines: Machines, callbacks: Sequence[keras.callbacks.Callback]
) -> dict[int, Scores]:
    """One stage of a training."""
    folder = Path(config.run)
    training, validation = (
        open_source(config.data, split, config.seed) for split in (config.data.train_split, config.data.val_split)
    )
    config = dataclasses.replace(config, model=_model_for(config.model, training))
    with alone_in(folder) if machines.first else nullcontext():
        if machines.first:
            claim(folder, config)
            check_before_training(config.data, folder, config.seed)
        keras.utils.set_random_seed(config.seed)
        with machines.strategy.scope():
            learner = make_train_state(config)
        # Outside the scope from here on: what the first machine alone makes must wait for no other.
        start = _start(folder, config, pretrained, machines, learner, training)
        warn_of_statistics(learner.model, config.training, machines.replicas)
        measuring = Validation(config, validation) if machines.first else None
        if start < config.training.steps:
            _learn(folder, config, machines, learner, training, validation, measuring, start, callbacks)
        scores = {}
        if measuring is not None:
            _finish(folder, config, learner, training, measuring)
            scores = measuring.measure()
            save_scores(folder, {str(stride): score.to_mapping() for stride, score in scores.items()})
        # The others wait for the first to be done: a machine that leaves early looks like one that died.
        from_first(machines, [as_variable(0)])
        return scores


def _wanted(first: TrainConfig, machines: Machines) -> bool:
    """Whether a first stage is still to be trained, as the first machine sees it."""
    wanted = as_variable(not (Path(first.run) / SCORES_FILE).is_file())
    from_first(machines, [wanted])
    return bool(wanted.numpy())


def _model_for(model: ModelConfig, source: Source) -> ModelConfig:
    """`model` with as many classes as the data have; a number that was set otherwise is refused, not overruled."""
    classes = len(source.classes)
    if model.classes not in (classes, ModelConfig.classes):
        raise UserError("model.classes", f"{model.classes}, but {source.name} has {classes}", "leave it out")
    return dataclasses.replace(model, classes=classes)


def _start(
    folder: Path,
    config: TrainConfig,
    pretrained: str | None,
    machines: Machines,
    learner: TrainState,
    training: Source,
) -> int:
    """Brings the learner to where the training begins or goes on; returns the number of updates made."""
    start = as_variable(0)
    if machines.first:
        states = saved_states(folder / STATE_FOLDER)
        if states:
            start.assign(load_state(states[-1], learner.parts))
            made = int(start.numpy())
            done = "is complete; measuring it" if made >= config.training.steps else f"goes on after step {made}"
            print(f"run={folder} {done}")
        elif pretrained is not None:
            _import(pretrained, config, learner, training)
        elif config.training.quantize_aware:
            raise UserError(
                "pretrained", "none, and rounding is trained last of all", "give the run of a float training"
            )
    variables = [v for part in learner.parts.values() for v in part]
    from_first(machines, [start, *variables])
    return int(start.numpy())


def _import(pretrained: str, config: TrainConfig, learner: TrainState, training: Source) -> None:
    """Loads the pretrained weights."""
    from deeplab.model.batch_norm_statistics import unfold_batch_norm
    from deeplab.pretrained import import_weights

    report = import_weights(learner.plain, pretrained, allow_missing=config.allow_missing)
    print(report)
    if report.folded and config.training.batch_norm != "frozen":
        unfold_batch_norm(learner.plain, _pictures(config, training, RESTATED_BATCHES))
    if config.training.quantize_aware:
        measure_ranges(learner.network, _pictures(config, training, config.training.quantization.range_batches))
    for average, variable in zip(learner.averages, averaged_variables(learner.model), strict=False):
        average.assign(variable.value)


def _pictures(config: TrainConfig, training: Source, count: int) -> Any:
    """Pictures `[b, h, w, 3]` of the first `count` batches."""
    batches = iterate(training_batches(training, config.training, config.seed))
    return (image.numpy() for image, _ in itertools.islice(batches, count))


def _learn(
    folder: Path,
    config: TrainConfig,
    machines: Machines,
    learner: TrainState,
    training: Source,
    validation: Source,
    measuring: Validation | None,
    start: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Makes the updates that are left."""
    settings = config.training

    def make(pieces: int, mine: range) -> tf.data.Dataset:
        first = start * settings.batch_size
        return training_batches(training, settings, config.seed, first, pieces=pieces, mine=mine)

    weights = _class_weights(folder, config, machines, training)
    with machines.strategy.scope():
        step = make_train_step(learner.model, learner.optimizer, settings, weights, learner.averages)

    def save(done: int) -> None:
        if machines.first:
            save_state(folder / STATE_FOLDER, done, learner.parts, KEPT_CHECKPOINTS)

    stop = StopOnSignal(save)
    watching: list[keras.callbacks.Callback] = [stop]
    if measuring is not None:
        watching = [*_watching(folder, config, learner, validation, measuring, start), *watching]
    # The state is saved last, when all that belongs to the update is on disk.
    saving = SaveState(save, settings.save_every, settings.steps)
    batches = iterate(batches_of(machines, make))
    run_loop(step, batches, learner.model, settings, [*watching, saving, *callbacks], start)
    stop.raise_if_stopped()


def _class_weights(folder: Path, config: TrainConfig, machines: Machines, training: Source) -> tuple[float, ...] | None:
    """The factor on the loss of each class, counted by the first machine where it is not given."""
    asked = config.training.class_weights
    if asked is None:
        return None
    weights = as_variable(np.ones(len(training.classes)))
    if not isinstance(asked, str):
        if len(asked) != len(training.classes):
            found = f"{len(asked)} weights for {len(training.classes)} classes"
            raise UserError("training.class_weights", found, f"in this order: {', '.join(training.classes)}")
        return asked
    if machines.first:
        weights.assign(class_weights(training_counts(config.data, folder, config.seed), asked))
    from_first(machines, [weights])
    return tuple(weights.numpy().tolist())


def _watching(
    folder: Path, config: TrainConfig, learner: TrainState, validation: Source, measuring: Validation, start: int
) -> list[keras.callbacks.Callback]:
    """The toolkit's own callbacks."""
    settings = config.training
    examples = list(validation.examples(min(settings.preview_images, validation.size or settings.preview_images)))

    def predict(image: np.ndarray) -> np.ndarray:
        measuring.set_weights(learner.weights())
        return measuring.predict(image)

    bar = ProgressBar(settings.steps, start, settings.log_every)
    board = TensorBoard(folder, settings.log_every, settings.save_every, examples, predict)
    page = TrainingPage(folder, config, examples, predict)

    def told(done: int, mious: dict[int, float]) -> None:
        bar.measured(done, mious)
        board.measured(done, mious)

    measure = Validate(folder, config, measuring, learner.weights, start, told)
    return [bar, CsvLog(folder / LOG_FILE, settings.log_every, start), measure, board, page]


def _finish(folder: Path, config: TrainConfig, learner: TrainState, training: Source, measuring: Validation) -> None:
    """Writes the weights that the training ends with, and gives them to `measuring`."""
    settings = config.training
    measuring.set_weights(learner.weights())
    result = measuring.first
    if settings.result == "best" and (folder / BEST_WEIGHTS).is_file():
        load_weights(result, folder / BEST_WEIGHTS)
    if settings.recalibration_batches:
        recalibrate(result, _pictures(config, training, settings.recalibration_batches))
    measuring.set_weights(result.get_weights())
    save_model(folder, result, ModelDescription(config.model, training.classes, settings.quantize_aware))


def run_training(config: TrainConfig) -> None:
    """Trains, or only checks the data; prints where the run is and how well it does."""
    if config.check_data:
        check_before_training(config.data, Path(config.run), config.seed, full=True)
        return
    scores = train(config)
    for output_stride, score in scores.items():
        print(f"output stride {output_stride:2d}: mIoU {score.miou:.4f}  pixel accuracy {score.pixel_accuracy:.4f}")
    print(f"run folder: {os.path.relpath(config.run)}")
