"""A whole training, from settings to a run folder with scores."""

import dataclasses
import itertools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from deeplab.config import ModelConfig, TrainConfig, to_mapping
from deeplab.datasets.doctor import check_before_training
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.confusion import Scores
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.predictor import keras_predictor
from deeplab.files import read_json, write_json
from deeplab.model.build import build_model
from deeplab.run import LOG, STATE, TRAIN, Description, save_model, save_scores
from deeplab.training.callbacks import CsvLog, ProgressBar, SaveState, TensorBoard
from deeplab.training.loop import make_optimizer, make_step, run_loop, set_batch_norm
from deeplab.training.state import load_state, saved_states

FREE_TO_CHANGE = (
    "output_stride",
    "image_size",
    "check_data",
    "training.save_every",
    "training.log_every",
    "training.pictures",
)
"""Settings that a training may go on with although they differ, for they do not touch its weights."""

UNSETTLED = 0.05
"""Beyond this share of their first values in a batch norm's statistics a warning is due."""

RESTATED_BATCHES = 4
"""How many batches measure the statistics of batch norms that were folded in a file and are to be trained."""


def train(config: TrainConfig, callbacks: Sequence[keras.callbacks.Callback] = ()) -> dict[int, Scores]:
    """Trains a model, or goes on with a training that was cut off, and measures it.

    Writes the run folder `config.run` (see `deeplab.run`). A run that is complete is only measured again.

    Args:
        config: all settings.
        callbacks: Keras callbacks of your own; they see every update.

    Returns:
        The scores on the validation split at each of `config.output_stride`.

    Raises:
        UserError: the data, the pretrained weights or the run folder are not as they should be, or the loss is no
            longer finite.
    """
    folder = Path(config.run)
    training, validation = (
        open_source(config.data, split, config.seed) for split in (config.data.train_split, config.data.val_split)
    )
    config = dataclasses.replace(config, model=_model_for(config.model, training))
    _claim(folder, config)
    check_before_training(config.data, folder, config.seed)
    keras.utils.set_random_seed(config.seed)
    strategy = _strategy()
    with strategy.scope():
        model = build_model(config.model, config.training.output_stride)
        set_batch_norm(model, config.training.batch_norm)
        optimizer = make_optimizer(config.training)
        optimizer.build(model.trainable_variables)
        start = _resume(folder, config, model, optimizer, training)
        warn_if_unsettled(model, config.training.steps)
        description = Description(config.model, training.classes)
        if start < config.training.steps:
            batches = training_batches(training, config.training, config.seed, start * config.training.batch_size)
            step = make_step(model, optimizer, config.training)
            watching = _callbacks(folder, config, model, optimizer, validation, start)
            distributed = strategy.experimental_distribute_dataset(batches)
            run_loop(step, iterate(distributed), model, config.training, [*watching, *callbacks], start)
    save_model(folder, model, description)
    scores = _measure(config, model, validation)
    save_scores(folder, {str(stride): score.to_mapping() for stride, score in scores.items()})
    return scores


def _model_for(model: ModelConfig, source: Source) -> ModelConfig:
    """`model` with as many classes as the data have; a number that was set otherwise is refused, not overruled."""
    classes = len(source.classes)
    if model.classes not in (classes, ModelConfig.classes):
        raise UserError("model.classes", f"{model.classes}, but {source.name} has {classes}", "leave it out")
    return dataclasses.replace(model, classes=classes)


def warn_if_unsettled(model: keras.Model, steps: int) -> None:
    """Warns where trained batch norms will still hold much of their first statistics after `steps` updates.

    Such a model trains well and labels everything alike once it is measured.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    left = max((layer.momentum**steps for layer in norms), default=0.0)
    if left > UNSETTLED:
        warnings.warn(
            f"after {steps} steps the batch norms' statistics are still {left:.0%} what they began with; "
            "set model.batch_norm_momentum=0.95 for short trainings",
            stacklevel=2,
        )


def _strategy() -> tf.distribute.Strategy:
    """All the GPUs of this machine together, or its one device."""
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def _claim(folder: Path, config: TrainConfig) -> None:
    """Writes the settings into the run folder; those of a run that is there already must be the same.

    Raises:
        UserError: a setting that the weights depend on differs, by name.
    """
    wanted = to_mapping(config)
    wanted.pop("run")
    path = folder / TRAIN
    if path.is_file():
        here, there = _flat(wanted), _flat(read_json(path))
        for key in sorted(here.keys() | there.keys()):
            before, now = there.get(key), here.get(key)
            if key not in FREE_TO_CHANGE and before != now:
                problem = f"was trained with {key}={before}, not {now}"
                raise UserError(f"run={folder}", problem, "set it back, or choose another run=FOLDER")
    write_json(path, wanted)


def _flat(value: object, path: str = "") -> dict[str, object]:
    """Nested mappings as one, "training.steps" for the key; lists and tuples alike."""
    if not isinstance(value, dict):
        return {path: list(value) if isinstance(value, tuple) else value}
    inner = (_flat(v, f"{path}.{k}" if path else k) for k, v in value.items() if v or not isinstance(v, dict))
    return {key: item for part in inner for key, item in part.items()}


def _resume(
    folder: Path,
    config: TrainConfig,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    training: Source,
) -> int:
    """Loads the latest state, or the pretrained weights where there is none; returns the number of updates made."""
    states = saved_states(folder / STATE)
    if states:
        start = load_state(states[-1], model, optimizer)
        done = "is complete; measuring it" if start >= config.training.steps else f"goes on after step {start}"
        print(f"run={folder} {done}")
        return start
    if config.pretrained is not None:
        from deeplab.model.pretrained import import_weights
        from deeplab.model.pretrained.restate import restate_batch_norm

        report = import_weights(model, config.pretrained, allow_missing=config.allow_missing)
        print(report)
        if report.folded and config.training.batch_norm == "train":
            batches = training_batches(training, config.training, config.seed)
            restate_batch_norm(
                model, (image.numpy() for image, _ in itertools.islice(iterate(batches), RESTATED_BATCHES))
            )
    return 0


def _callbacks(
    folder: Path,
    config: TrainConfig,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    validation: Source,
    start: int,
) -> list[keras.callbacks.Callback]:
    """The toolkit's own callbacks. The state is saved last, when all that belongs to the update is on disk."""
    settings = config.training
    examples = list(validation.examples(min(settings.pictures, validation.size or settings.pictures)))
    predict = keras_predictor(model, config.eval_size)
    return [
        ProgressBar(settings.steps, start, settings.log_every),
        CsvLog(folder / LOG, settings.log_every, start),
        TensorBoard(folder, settings.log_every, settings.save_every, examples, predict),
        SaveState(folder / STATE, optimizer, settings.save_every, settings.steps),
    ]


def _measure(config: TrainConfig, model: keras.Model, validation: Source) -> dict[int, Scores]:
    """Scores of the weights of `model` at every output stride asked for."""
    scores = {}
    for output_stride in config.output_stride:
        at_stride = build_model(config.model, output_stride)
        at_stride.set_weights(model.get_weights())
        predict = keras_predictor(at_stride, config.eval_size)
        title = f"validation at output stride {output_stride}"
        scores[output_stride] = evaluate(
            predict, validation.examples(), validation.classes, progress=title, total=validation.size
        )
    return scores


def run_training(config: TrainConfig) -> None:
    """Trains, or only checks the data; prints where the run is and how well it does."""
    if config.check_data:
        check_before_training(config.data, Path(config.run), config.seed, full=True)
        return
    scores = train(config)
    for output_stride, score in scores.items():
        print(f"output stride {output_stride:2d}: mIoU {score.miou:.4f}  pixel accuracy {score.pixel_accuracy:.4f}")
    print(f"run folder: {os.path.relpath(config.run)}")
