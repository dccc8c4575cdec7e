"""One update of the weights, under tf.distribute: one device, several devices and several machines alike."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.model.quantization.transform import track_ranges
from deeplab.training.loss import cross_entropy, mining_share, weight_decay
from deeplab.training.optimizer import decayed_kernels

Step = Callable[[Any], dict[str, tf.Tensor]]


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    config: TrainingConfig,
    class_weights: Sequence[float] | None = None,
    averages: Sequence[tf.Variable] = (),
) -> Step:
    """One update on one global batch (image `[b, h, w, 3]` float32, label `[b, h, w]` int32), as a compiled function.

    The loss is the mean over the valid pixels of the global batch, however they are spread over the replicas and over
    the parts of `config.accumulation`. To that end gradients are those of sums, and are divided last.

    Args:
        model: from pixels to logits `[b, h, w, classes]`, or to a list of those of the main and an auxiliary head.
        optimizer: from `make_optimizer`.
        config: the recipe.
        class_weights: factor on the loss of each class.
        averages: moving averages of `averaged_variables(model)`; they move with each update.

    Returns:
        From a batch to the "loss" (weight decay included), the "cross_entropy" of the main head and the
        "learning_rate".
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    decay = config.weight_decay if config.optimizer == "sgd" else 0.0
    kernels = decayed_kernels(model) if decay else []
    variables = model.trainable_variables
    places = {id(variable): place for place, variable in enumerate(variables)}
    mined = config.mining_top < 1

    def gradients_of_sum(images: tf.Tensor, labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Gradients of the mean over all pixels, valid or not; the sum of the main loss; how many pixels it has."""
        pixels = tf.cast(tf.size(labels), tf.float32)
        share = mining_share(optimizer.iterations, config.mining_top, config.mining_steps) if mined else None
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            main, *others = outputs if isinstance(outputs, list) else [outputs]
            total, number = cross_entropy(labels, main, class_weights, config.label_smoothing, share)
            loss = total / pixels
            for other in others:
                more, _ = cross_entropy(labels, other, class_weights, config.label_smoothing, share)
                loss += config.auxiliary_weight * more / pixels
            loss = optimizer.scale_loss(loss)
        return [pixels * g for g in tape.gradient(loss, [v.value for v in variables])], total, number

    compiled = tf.function(gradients_of_sum, autograph=False, jit_compile=True) if config.xla else gradients_of_sum

    def on_replica(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        gradients, total, number = _in_parts(compiled, images, labels, config.accumulation)
        number = tf.maximum(context.all_reduce(tf.distribute.ReduceOp.SUM, number), 1.0)
        gradients = [g / number for g in gradients]
        # The optimizer adds up the gradients of the replicas, so each takes its share of what all have in common.
        scale = optimizer.scale_loss(tf.constant(decay / replicas))
        for kernel in kernels:
            gradients[places[id(kernel)]] += scale * kernel.value
        if config.clip_norm is not None:
            gradients = _shortened(gradients, config.clip_norm, optimizer.scale_loss(tf.constant(1.0)))
        shrinking = weight_decay(kernels, decay) / replicas
        optimizer.apply(gradients, variables)
        return total / number, shrinking

    # Keras' code needs no autograph, which would take most of the time of tracing.
    @tf.function(autograph=False)
    def update(batch: Any, following: bool) -> dict[str, tf.Tensor]:
        del following  # It only tells the two functions apart that there are when int8 is simulated.
        rate = tf.identity(tf.cast(optimizer.learning_rate, tf.float32))
        parts = strategy.run(on_replica, args=batch)
        entropy, shrinking = (strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in parts)
        if averages:
            _move(averages, averaged_variables(model), optimizer.iterations, config.ema_decay)
        return {"loss": entropy + shrinking, "cross_entropy": entropy, "learning_rate": rate}

    def step(batch: Any) -> dict[str, tf.Tensor]:
        following = config.quantize_aware and int(optimizer.iterations.numpy()) < config.quantization.delay
        if config.quantize_aware:
            track_ranges(model, config.quantization.range_momentum if following else None)
        return update(batch, following)

    return step


def averaged_variables(model: keras.Model) -> list[keras.Variable]:
    """What a moving average of the weights is over: all that is learned and the statistics of batch norm."""
    return [v for v in model.variables if v.dtype == "float32"]


def make_averages(model: keras.Model) -> list[tf.Variable]:
    """Moving averages that begin at the values of `averaged_variables(model)`."""
    return [tf.Variable(v.value, trainable=False) for v in averaged_variables(model)]


def _move(averages: Sequence[tf.Variable], variables: Sequence[keras.Variable], updates: Any, decay: float) -> None:
    """Moves the averages a little towards the variables; a young one moves faster, as in tf.train."""
    updates = tf.cast(updates, tf.float32)
    kept = tf.minimum(decay, (1.0 + updates) / (10.0 + updates))
    for average, variable in zip(averages, variables, strict=True):
        average.assign(kept * average + (1.0 - kept) * variable.value)


def _shortened(gradients: list[tf.Tensor], limit: float, scale: tf.Tensor) -> list[tf.Tensor]:
    """One replica's share of the gradients, by which the sum over all replicas is no longer than `limit` times `scale`.

    `scale` is that of the loss, which the gradients still carry.
    """
    context = tf.distribute.get_replica_context()
    several = context.num_replicas_in_sync > 1
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients) if several else gradients
    norm = tf.linalg.global_norm(summed) / scale
    shorter = limit / tf.maximum(norm, limit)
    return [shorter * g for g in gradients]


def _in_parts(
    function: Callable[[tf.Tensor, tf.Tensor], tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]],
    images: tf.Tensor,
    labels: tf.Tensor,
    parts: int,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """The sum of what `function` gives for each of `parts` equal parts of a batch, one part in memory at a time."""
    if parts == 1:
        return function(images, labels)
    size = tf.shape(labels)[0] // parts

    def part(number: Any) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        piece = slice(number * size, (number + 1) * size)
        return function(images[piece], labels[piece])

    def add(number: Any, summed: Any) -> Any:
        return number + 1, tf.nest.map_structure(tf.add, summed, part(number))

    return tf.while_loop(lambda number, _: number < parts, add, (1, part(0)), maximum_iterations=parts - 1)[1]
