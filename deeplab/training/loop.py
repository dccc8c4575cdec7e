"""The training loop, under tf.distribute: one process, several devices and several machines alike.

It is ours because Keras 3's `fit` fails under MultiWorkerMirroredStrategy. Keras callbacks hang around it as around
`fit`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.loss import cross_entropy, weight_decay


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """SGD with momentum under the "poly" schedule (DeepLabv2, arXiv:1606.00915, sec. 4.1)."""
    schedule = keras.optimizers.schedules.PolynomialDecay(
        config.learning_rate, config.steps, end_learning_rate=0.0, power=config.power
    )
    return keras.optimizers.SGD(schedule, momentum=config.momentum)


def set_batch_norm(model: keras.Model, mode: str) -> None:
    """Lets batch norm learn ("train"), or holds statistics, gamma and beta as they are ("frozen")."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = mode == "train"


def decayed_kernels(model: keras.Model) -> list[keras.Variable]:
    """What weight decay acts on: the kernels of convolutions, not depthwise ones, biases or batch norms."""
    return [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def make_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, config: TrainingConfig
) -> Callable[[Any], dict[str, tf.Tensor]]:
    """One update on one global batch (image `[b, h, w, 3]` float32, label `[b, h, w]` int32), as a compiled function.

    The loss is the mean over the valid pixels of the global batch, however they are spread over the replicas.
    """
    strategy = tf.distribute.get_strategy()
    kernels = decayed_kernels(model)

    def on_replica(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        replicas = strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            total, valid = cross_entropy(labels, model(images, training=True))
            valid = tf.maximum(context.all_reduce(tf.distribute.ReduceOp.SUM, valid), 1.0)
            # The optimizer adds up the gradients of the replicas, so each takes its share of what all have in common.
            entropy, decay = total / valid, weight_decay(kernels, config.weight_decay) / replicas
            loss = entropy + decay
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        return entropy, decay

    # Keras' code needs no autograph, which would take most of the time of tracing.
    @tf.function(autograph=False)
    def step(batch: Any) -> dict[str, tf.Tensor]:
        rate = tf.identity(tf.cast(optimizer.learning_rate, tf.float32))
        parts = strategy.run(on_replica, args=batch)
        entropy, decay = (strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in parts)
        return {"loss": entropy + decay, "cross_entropy": entropy, "learning_rate": rate}

    return step


def run_loop(
    step: Callable[[Any], dict[str, tf.Tensor]],
    batches: Iterator[Any],
    model: keras.Model,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    start: int = 0,
) -> None:
    """Makes the updates `start` to `config.steps`, telling `callbacks` of each as Keras `fit` would.

    A callback gets the number of the update, from 0, and "loss", "cross_entropy", "learning_rate" and
    "images_per_second"; it ends the training early by `model.stop_training = True`.

    Raises:
        UserError: the loss is no longer finite. No callback has seen that update, so nothing of it was saved.
    """
    told = keras.callbacks.CallbackList(list(callbacks), model=model, steps=config.steps, initial_step=start)
    model.stop_training = False
    told.on_train_begin()
    try:
        for number in range(start, config.steps):
            begin = time.perf_counter()
            told.on_train_batch_begin(number)
            logs = {name: float(value) for name, value in step(next(batches)).items()}
            if not math.isfinite(logs["loss"]):
                raise UserError(
                    "training",
                    f"the loss is {logs['loss']} at step {number + 1}",
                    f"lower training.learning_rate ({config.learning_rate:g}), or look at the data",
                )
            logs["images_per_second"] = config.batch_size / (time.perf_counter() - begin)
            told.on_train_batch_end(number, logs)
            if model.stop_training:
                break
    finally:
        told.on_train_end()
