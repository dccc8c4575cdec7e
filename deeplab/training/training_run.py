"""One training in its run folder: load the last checkpoint or the initial weights, train, save, evaluate."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from deeplab.config import ModelConfig, TrainConfig, fixed_height_width
from deeplab.data_check.check import check_before_training
from deeplab.data_check.class_weights import class_weights, training_counts
from deeplab.datasets.open import open_source, open_training_source
from deeplab.datasets.pipeline import iterate
from deeplab.datasets.source import Example, Source
from deeplab.datasets.unlabelled import warn_about_validation_images
from deeplab.errors import UserError
from deeplab.evaluation.evaluate import one_class_text
from deeplab.evaluation.scores import Scores
from deeplab.files import list_checkpoints
from deeplab.memory import require_memory
from deeplab.model.batch_norm_statistics import reestimate_batch_norm
from deeplab.plan.choice import is_planned
from deeplab.plan.plan import read_plan
from deeplab.run_folder import LOG_FILE, STATE_FOLDER, ModelDescription, load_weights, save_model, save_scores
from deeplab.training import training_data
from deeplab.training.batch_norm_warnings import warn_about_batch_norm
from deeplab.training.callbacks import COLUMNS, DISTILLATION, CsvLog, ProgressBar, SaveCheckpoints, TensorBoardLog
from deeplab.training.checkpoint import load_checkpoint, save_checkpoint
from deeplab.training.distillation import check_teacher, make_teacher
from deeplab.training.distribution import Workers, broadcast_from_chief, broadcast_value, distribute_batches
from deeplab.training.early_stopping import EarlyStopping
from deeplab.training.forecast import Forecast
from deeplab.training.initial_weights import load_pretrained
from deeplab.training.interrupt import StopOnSignal
from deeplab.training.loop import run_loop
from deeplab.training.notices import subset_text
from deeplab.training.optimizer import set_trainable
from deeplab.training.run_lock import check_settings
from deeplab.training.settings import warn_about_random_weights
from deeplab.training.train_state import make_train_state
from deeplab.training.train_step import make_train_step
from deeplab.training.training_page import TrainingPage, write_page
from deeplab.training.validation import BEST_WEIGHTS_FILE, ValidationCallback, Validator

KEPT_CHECKPOINTS = 2
"""Number of state checkpoints that stay on disk."""


class TrainingRun:
    """One training in its run folder: `prepare`, `restore`, `fit`, `finish`, in this order and on every worker.

    Attributes:
        config: all settings; the model has the number of classes of the data.
        workers: all workers; only the chief reads and writes the run folder.
        folder: the run folder.
        train_source: the training split.
        val_source: the validation split.
        state: network, optimizer and moving averages.
        teacher: predicts soft targets for a distillation; None without one.
        validator: evaluates on the validation split; None except on the chief.
        start: number of updates made before this process continues.
        done: number of updates made so far.
        is_complete: whether no update is left, because all are made or the training stopped early.
    """

    def __init__(self, config: TrainConfig, workers: Workers) -> None:
        """Open the data; nothing is written.

        Raises:
            UserError: the data or the teacher cannot be opened, their classes do not match the settings, or a batch
                exceeds the memory.
        """
        self.workers, self.folder = workers, Path(config.run)
        self.start, self.done, self.is_complete, self._validates_start = 0, 0, False, False
        self._early_stopping = EarlyStopping(self.folder, config.training, workers)
        self.train_source = open_training_source(config.data, config.seed, workers.on_machine)
        self.val_source = open_source(config.data, config.data.val_split, config.seed)
        self.config = dataclasses.replace(config, model=_match_classes(config.network, self.train_source))
        check_teacher(self.config, self.train_source.classes)
        settings = config.training
        self._subset = subset_text(settings, self.val_source.size)
        _check_rare_classes(settings.augment.rare_classes, self.train_source)
        size, images = settings.crop, settings.batch_size // settings.accumulation
        remedy = "use a smaller crop_size or batch_size, or a larger accumulation"
        require_memory("training.crop_size", size, self.config.network.classes, images, remedy)

    def prepare(self) -> None:
        """Check the settings and the data, and build the network with random weights.

        Raises:
            UserError: the data are unusable, or settings differ from those the run folder was trained with.
        """
        config = self.config
        if self.workers.is_chief:
            check_settings(self.folder, config)
            check_before_training(config.data, self.folder, config.seed)
            if config.data.unlabelled is not None:
                warn_about_validation_images(Path(config.data.unlabelled), self.val_source)
        keras.utils.set_random_seed(config.seed)
        with self.workers.strategy.scope():
            self.state = make_train_state(config)
            self.teacher = make_teacher(config)
        # Made outside the scope: variables that only the chief creates must not wait for the other workers.
        self.validator = Validator(config, self.val_source) if self.workers.is_chief else None

    def restore(self, pretrained: str | None) -> None:
        """Load the last checkpoint, or else the pretrained weights, and broadcast them to all workers.

        Raises:
            UserError: the checkpoint or the pretrained weights do not fit.
        """
        if self.workers.is_chief:
            checkpoints = list_checkpoints(self.folder / STATE_FOLDER)
            if checkpoints:
                self.start = load_checkpoint(checkpoints[-1], self.state.parts)
            elif pretrained is not None:
                self._validates_start = load_pretrained(self.state, self.config, self.train_source, pretrained)
            else:
                warn_about_random_weights(self.config)
        self.start = self.done = int(broadcast_value(self.workers, self.start))
        broadcast_from_chief(self.workers, [v for part in self.state.parts.values() for v in part])
        self.is_complete = self.start >= self.config.training.steps or self._early_stopping.has_stopped(self.start)
        if self.workers.is_chief and self.start:
            resuming = f"resuming run={self.folder} from step {self.start}"
            print(f"run={self.folder} is complete; evaluating it" if self.is_complete else resuming)
        plan = read_plan(self.folder) if is_planned(self.config) else None
        warn_about_batch_norm(self.state.model, self.config.training, self.workers.replicas, plan)

    def fit(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Make the remaining updates.

        Raises:
            UserError: the loss is not finite, or a signal stopped the training.
        """
        settings = self.config.training
        if self.is_complete:
            return
        weights = self._class_weights()
        with self.workers.strategy.scope():
            state = self.state
            step = make_train_step(state.model, state.optimizer, settings, weights, state.averages, self.teacher)
        self._show_cost_of_teacher()

        def make_batches(replicas: int, replica_ids: range) -> tf.data.Dataset:
            first = self.start * settings.batch_size
            arguments = {"start": first, "replicas": replicas, "local_replicas": replica_ids}
            return training_data.make_batches(self.config, self.train_source, **arguments)

        stop = StopOnSignal(self._save_checkpoint)
        # Checkpoints are saved after everything else of the update is on disk.
        save = SaveCheckpoints(self._save_checkpoint, settings.save_every, settings.steps)
        batches = iterate(distribute_batches(self.workers, make_batches))
        recording = [*self._callbacks(), save, stop]
        self.done = run_loop(step, batches, self.state.model, settings, recording, self.start, callbacks)
        stop.raise_if_stopped()

    def finish(self) -> dict[int, Scores]:
        """Save the final weights and evaluate them; return the scores by output stride, {} except on the chief."""
        scores = {}
        if self.validator is not None:
            settings, network = self.config.training, self.validator.network
            network.set_weights(self.state.weights())
            if settings.result == "best" and (self.folder / BEST_WEIGHTS_FILE).is_file():
                load_weights(network, self.folder / BEST_WEIGHTS_FILE)
            if settings.recalibration_batches:
                set_trainable(network, settings)
                images = training_data.first_images(self.config, self.train_source, settings.recalibration_batches)
                reestimate_batch_norm(network, images)
            self.validator.set_weights(network.get_weights())
            description = ModelDescription(
                self.config.network,
                self.train_source.classes,
                settings.quantize_aware,
                settings.quantization.per_tensor,
                self.config.data.fit,
                fixed_height_width(self.config.data.image_size),
            )
            save_model(self.folder, network, description)
            scores = self.validator.evaluate()
            if text := next(filter(None, map(one_class_text, scores.values())), ""):
                warnings.warn(text, stacklevel=2)
            save_scores(self.folder, {str(stride): score.to_mapping() for stride, score in scores.items()})
            predictions = [(example, self.validator.predict(example.image)) for example in self._preview()]
            state = {"complete": True, "scores": scores, "subset": self._subset}
            write_page(self.folder, self.config, self.done, predictions, **state)
        # A barrier: a worker that ended before the chief would look like a lost one.
        broadcast_value(self.workers, 0)
        return scores

    def _class_weights(self) -> tuple[float, ...] | None:
        """Return the factor on the loss of each class; the chief counts the classes if they depend on the data."""
        setting, classes = self.config.training.class_weights, self.train_source.classes
        if setting is None:
            return None
        if not isinstance(setting, str):
            if len(setting) != len(classes):
                problem = f"expected {len(classes)} weights, one per class, got {len(setting)}"
                raise UserError("training.class_weights", problem, f"in this order: {', '.join(classes)}")
            return setting
        weights: Sequence[float] = [1.0] * len(classes)
        if self.workers.is_chief:
            weights = class_weights(training_counts(self.config.data, self.folder, self.config.seed), setting)
        return tuple(broadcast_value(self.workers, weights).tolist())

    def _show_cost_of_teacher(self) -> None:
        """Print how long the teacher takes for one update; it is part of each update's time."""
        if self.teacher is not None and self.workers.is_chief:
            settings = self.config.training
            images = settings.batch_size // settings.accumulation // self.workers.replicas
            seconds = settings.accumulation * self.teacher.seconds(images, settings.crop)
            teacher = settings.distillation
            where = f"at output stride {teacher.output_stride}"
            print(f"teacher {teacher.teacher} {where}: {seconds:.3g} s of each update", flush=True)

    def _preview(self) -> list[Example]:
        """Return the validation images to show."""
        count, size = self.config.training.preview_images, self.val_source.size
        return list(self.val_source.examples(count if size is None else min(count, size)))

    def _save_checkpoint(self, step: int) -> None:
        if self.workers.is_chief:
            save_checkpoint(self.folder / STATE_FOLDER, step, self.state.parts, KEPT_CHECKPOINTS)

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        """Return the callbacks that record the training and stop it; workers other than the chief record nothing."""
        if self.validator is None:
            return [self._early_stopping]
        settings, validator, examples = self.config.training, self.validator, self._preview()

        def predict(image: np.ndarray) -> np.ndarray:
            validator.set_weights(self.state.weights())
            return validator.predict(image)

        forecast = Forecast(settings, self.start, self.val_source.size)
        bar = ProgressBar(settings.steps, self.start, settings.log_every, forecast, self._subset)
        board = TensorBoardLog(self.folder, settings.log_every, settings.save_every, examples, predict)
        columns = COLUMNS if self.teacher is None else (*COLUMNS, DISTILLATION)
        reports = [bar.show_validation, board.write_validation]
        return [
            forecast,
            bar,
            CsvLog(self.folder / LOG_FILE, settings.log_every, self.start, columns),
            ValidationCallback(
                self.folder,
                self.config,
                validator,
                self.state.weights,
                self.start,
                reports,
                forecast,
                validates_start=self._validates_start,
            ),
            self._early_stopping,
            board,
            TrainingPage(self.folder, self.config, examples, predict, forecast, self._subset),
        ]


def _match_classes(model: ModelConfig, source: Source) -> ModelConfig:
    """Return `model` with as many classes as the data has; raise UserError if another number was set."""
    classes = len(source.classes)
    if model.classes not in (classes, ModelConfig.classes):
        problem = f"expected {classes}, the number of classes of {source.name}, got {model.classes}"
        raise UserError("model.classes", problem, "leave it out")
    return dataclasses.replace(model, classes=classes)


def _check_rare_classes(rare_classes: Sequence[int], source: Source) -> None:
    """Raise UserError if a rare class is no class of the data."""
    unknown = [class_id for class_id in rare_classes if class_id >= len(source.classes)]
    if unknown:
        problem = f"expected class ids of {source.name}, 0 to {len(source.classes) - 1}, got {unknown[0]}"
        raise UserError("training.augment.rare_classes", problem, f"class 0 is {source.classes[0]}")
