"""One update of the weights under tf.distribute: on one device, several devices or several workers."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.datasets.source import IGNORE_LABEL
from deeplab.model.quantization.transform import track_ranges
from deeplab.training.distillation import Teacher
from deeplab.training.loss import cross_entropy, mining_share, weight_decay
from deeplab.training.optimizer import decay_factor, decayed_kernels

TrainStep = Callable[[Any], dict[str, tf.Tensor]]
"""Makes one update on a batch and returns its logs."""

Sums = tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]
"""Gradients of the summed loss, the sums of the main loss and of the distillation loss, and the number of pixels."""

GradientFunction = Callable[[tf.Tensor, tf.Tensor], Sums]
"""From images and labels to their sums."""


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    config: TrainingConfig,
    class_weights: Sequence[float] | None = None,
    averages: Sequence[tf.Variable] = (),
    teacher: Teacher | None = None,
) -> TrainStep:
    """Return a compiled function that makes one update on a global batch.

    The loss is the mean over the valid pixels of the global batch, whatever their distribution over the replicas and
    over the parts of `config.accumulation`. Therefore gradients of sums are added up, and the total is divided at the
    end.

    Args:
        model: from images to logits `[b, h, w, classes]`, or to a list of the logits of the main and an auxiliary head.
        optimizer: from `make_optimizer`. A resumed one has its number of updates restored already.
        config: the training recipe.
        class_weights: factor on the loss of each class.
        averages: moving averages of `averaged_variables(model)`, which each update moves.
        teacher: adds the distillation loss of the main head, with its weight.

    Returns:
        A function from a batch (image `[b, h, w, 3]` float32, label `[b, h, w]` int32) to its scalar logs: the "loss"
        including weight decay, the "cross_entropy" of the main head, its "distillation" loss without the weight (if
        there is a teacher) and the "learning_rate".
    """
    strategy = tf.distribute.get_strategy()
    on_replica = _replica_update(model, optimizer, config, class_weights, teacher)

    # Keras code needs no autograph, which would take most of the tracing time.
    @tf.function(autograph=False)
    def update(batch: Any, tracking: bool) -> dict[str, tf.Tensor]:
        del tracking  # Selects one of two traces: `track_ranges` changes what the model computes.
        rate = tf.identity(tf.cast(optimizer.learning_rate, tf.float32))
        parts = strategy.run(on_replica, args=batch)
        entropy, regularization, distilled = (
            strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in parts
        )
        if averages:
            _move_averages(averages, averaged_variables(model), optimizer.iterations, config.ema_decay)
        logs = {"loss": entropy + regularization, "cross_entropy": entropy, "learning_rate": rate}
        if teacher is None:
            return logs
        return logs | {"loss": logs["loss"] + teacher.config.weight * distilled, "distillation": distilled}

    # Counted here, because reading optimizer.iterations would wait for the device.
    updates = itertools.count(int(optimizer.iterations.numpy()))

    def train_step(batch: Any) -> dict[str, tf.Tensor]:
        tracking = config.quantize_aware and next(updates) < config.quantization.delay
        if config.quantize_aware:
            track_ranges(model, config.quantization.range_momentum if tracking else None)
        return update(batch, tracking)

    return train_step


def averaged_variables(model: keras.Model) -> list[keras.Variable]:
    """Return the variables that have a moving average: the weights and the batch-norm statistics."""
    return [v for v in model.variables if v.dtype == "float32"]


def make_averages(model: keras.Model) -> list[tf.Variable]:
    """Create the moving averages of `averaged_variables(model)`, initialized with the current values."""
    return [tf.Variable(v.value, trainable=False) for v in averaged_variables(model)]


def _replica_update(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    config: TrainingConfig,
    class_weights: Sequence[float] | None,
    teacher: Teacher | None,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Return a function that applies the update of one replica to its images and labels.

    It returns the replica's parts of the cross entropy, the weight decay and the distillation loss.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    decay = decay_factor(config) if config.optimizer == "sgd" else 0.0
    kernels = decayed_kernels(model) if decay else []
    variables = model.trainable_variables
    index_of = {id(variable): index for index, variable in enumerate(variables)}
    gradients_of_sum = _gradients_of_sum(model, optimizer, config, class_weights, teacher)

    def over_replicas(number: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return tf.maximum(context.all_reduce(tf.distribute.ReduceOp.SUM, number), 1.0)

    def on_replica(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        labeled, counted = tf.ones(()), tf.ones(())
        if teacher is not None:
            labeled = over_replicas(tf.reduce_sum(tf.cast(labels != IGNORE_LABEL, tf.float32)))
            counted = over_replicas(teacher.number(images, labels))
        gradients, total, distilled, number = _accumulate(
            lambda image, label: gradients_of_sum(image, label, labeled, counted), images, labels, config.accumulation
        )
        number = over_replicas(number)
        gradients = [g / number for g in gradients]
        # The optimizer adds up the gradients of all replicas, so each replica adds its fraction of the weight decay.
        scale = optimizer.scale_loss(tf.constant(decay / replicas))
        for kernel in kernels:
            gradients[index_of[id(kernel)]] += scale * kernel.value
        if config.clip_norm is not None:
            gradients = _clip(gradients, config.clip_norm, optimizer.scale_loss(tf.constant(1.0)))
        regularization = weight_decay(kernels, decay) / replicas
        optimizer.apply(gradients, variables)
        return total / number, regularization, distilled / counted

    return on_replica


def _gradients_of_sum(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    config: TrainingConfig,
    class_weights: Sequence[float] | None,
    teacher: Teacher | None,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Sums]:
    """Return a function from images, labels and, with a teacher, what divides the sums of the two losses to the sums.

    It is compiled by XLA if requested.
    """
    mined = config.mining_top < 1

    def gradients_of_sum(images: tf.Tensor, labels: tf.Tensor, labeled: tf.Tensor, counted: tf.Tensor) -> Sums:
        # A mean, not the sum, is scaled: gradients of a scaled sum would exceed the range of float16. With a teacher it
        # is that of the update: without labels, a factor on its loss for any other divisor would be below that range.
        divisor = tf.cast(tf.size(labels), tf.float32) if teacher is None else labeled
        targets = None if teacher is None else teacher.logits(images)
        share = mining_share(optimizer.iterations, config.mining_top, config.mining_steps) if mined else None
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            main, *others = outputs if isinstance(outputs, list) else [outputs]
            total, number = cross_entropy(labels, main, class_weights, config.label_smoothing, share)
            loss, distilled = total / divisor, tf.zeros(())
            if teacher is not None:
                distilled = teacher.loss(targets, main, teacher.counted(images, labels))
                loss += teacher.config.weight * distilled / counted
            for other in others:
                auxiliary, _ = cross_entropy(labels, other, class_weights, config.label_smoothing, share)
                loss += config.auxiliary_weight * auxiliary / divisor
            loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [divisor * g for g in gradients], total, distilled, number

    return tf.function(gradients_of_sum, autograph=False, jit_compile=True) if config.xla else gradients_of_sum


def _move_averages(
    averages: Sequence[tf.Variable], variables: Sequence[keras.Variable], updates: Any, decay: float
) -> None:
    """Move the averages towards the variables, faster in the first updates, as tf.train.ExponentialMovingAverage."""
    updates = tf.cast(updates, tf.float32)
    kept = tf.minimum(decay, (1.0 + updates) / (10.0 + updates))
    for average, variable in zip(averages, variables, strict=True):
        average.assign(kept * average + (1.0 - kept) * variable.value)


def _clip(gradients: list[tf.Tensor], limit: float, scale: tf.Tensor) -> list[tf.Tensor]:
    """Scale one replica's gradients so that the norm of their sum over all replicas is at most `limit * scale`.

    `scale` is the loss scale, which the gradients still contain.
    """
    context = tf.distribute.get_replica_context()
    several = context.num_replicas_in_sync > 1
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients) if several else gradients
    norm = tf.linalg.global_norm(summed) / scale
    factor = limit / tf.maximum(norm, limit)
    return [factor * g for g in gradients]


def _accumulate(function: GradientFunction, images: tf.Tensor, labels: tf.Tensor, parts: int) -> Sums:
    """Return the sum of `function` over `parts` equal parts of a batch, with one part in memory at a time."""
    if parts == 1:
        return function(images, labels)
    size = tf.shape(labels)[0] // parts

    def part(number: Any) -> Sums:
        rows = slice(number * size, (number + 1) * size)
        return function(images[rows], labels[rows])

    def add(number: Any, summed: Any) -> Any:
        return number + 1, tf.nest.map_structure(tf.add, summed, part(number))

    return tf.while_loop(lambda number, _: number < parts, add, (1, part(0)), maximum_iterations=parts - 1)[1]
