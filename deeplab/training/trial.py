"""A few updates of a planned training, to measure their time."""

import contextlib
import dataclasses
import gc
import io
import itertools
import time

import tensorflow as tf

from deeplab.config import TrainConfig
from deeplab.datasets.open import open_source, open_training_source
from deeplab.datasets.pipeline import iterate
from deeplab.memory import peak_memory
from deeplab.plan.facts import Trial
from deeplab.published_weights import local_file
from deeplab.training.distillation import make_teacher
from deeplab.training.distribution import Workers, check_batch_size, distribute_batches
from deeplab.training.known_classes import explained_entropy
from deeplab.training.settings import complete_settings, described_model
from deeplab.training.train_state import make_train_state
from deeplab.training.train_step import make_train_step
from deeplab.training.training_data import labeled_batches, make_batches
from deeplab.training.validation import Validator

MIN_UPDATES, MAX_UPDATES, SECONDS = 4, 20, 8.0
"""Updates are timed until both the minimum number and the time are reached, or the maximum."""

IMAGES = 3
"""Number of validation images that are timed."""

EXPLAINED_BATCHES = 10
"""Number of training batches on which `measure_explained` compares classes."""


def measure_trial(config: TrainConfig, workers: Workers) -> Trial:
    """Train a network with random weights for a few updates, evaluate a few validation images, and forget it.

    The first update, which compiles the network, counts as start; the preparation of the batches counts as update.

    Raises:
        UserError: the data cannot be used, or a batch given by hand cannot be divided among the replicas.
    """
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # The training itself prints the completed settings.
        config = complete_settings(config, workers)
    check_batch_size(config.training, workers)
    train, val = open_training_source(config.data, config.seed), open_source(config.data, config.data.val_split)
    config = dataclasses.replace(config, model=dataclasses.replace(config.network, classes=len(train.classes)))
    settings = config.training
    with workers.strategy.scope():
        state = make_train_state(config)
        step = make_train_step(state.model, state.optimizer, settings, None, state.averages, make_teacher(config))

    def batches_of(replicas: int, replica_ids: range) -> tf.data.Dataset:
        return make_batches(config, train, replicas=replicas, local_replicas=replica_ids)

    batches = iterate(distribute_batches(workers, batches_of))
    float(step(next(batches))["loss"])
    start_seconds = time.perf_counter() - began
    updates, began = 0, time.perf_counter()
    while updates < MIN_UPDATES or (time.perf_counter() - began < SECONDS and updates < MAX_UPDATES):
        # Reading the loss waits for the device.
        float(step(next(batches))["loss"])
        updates += 1
    update_seconds = (time.perf_counter() - began) / updates
    began = time.perf_counter()
    validator = Validator(config, val)
    validator.evaluate(1)
    start_seconds += time.perf_counter() - began
    began = time.perf_counter()
    validator.evaluate(IMAGES)
    image_seconds = (time.perf_counter() - began) / min(IMAGES, val.size or IMAGES)
    del batches, step, state, validator
    gc.collect()
    return Trial(update_seconds, start_seconds, image_seconds, peak_memory())


def measure_explained(config: TrainConfig, workers: Workers) -> float | None:
    """Return `explained_entropy` of the pretrained model on training crops; None if the weights name no classes.

    Raises:
        UserError: the data or the weights cannot be used.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        config = complete_settings(config, workers)
    model = described_model(local_file(config.pretrained or ""))
    if model is None:
        return None
    source = open_training_source(config.data, config.seed)
    batches = itertools.islice(iterate(labeled_batches(config, source)), EXPLAINED_BATCHES)
    return explained_entropy(model.load(config.training.output_stride), batches)
