"""Batch norm that is trained by one operator."""

from typing import Any

import keras
from keras import ops


def batch_moments(inputs: Any, synchronized: bool = False) -> tuple[Any, Any]:
    """Mean and variance of each channel, both float32 `[c]`.

    Over several replicas each tells its number of pixels, mean and variance, and these are joined by the pairwise
    formula (Chan, Golub and LeVeque, The American Statistician 37, 1983). It adds up what is positive; the mean of the
    squares less the square of the mean, which Keras takes, loses the digits of a channel that hardly varies.

    Args:
        inputs: `[b, h, w, c]`.
        synchronized: over all replicas of a `tf.distribute` strategy, which may have unequal numbers of pixels. Only
            on TensorFlow.
    """
    inputs = ops.cast(inputs, "float32")
    mean, variance = ops.moments(inputs, axes=(0, 1, 2))
    if not synchronized:
        return mean, variance
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return mean, variance
    number = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
    of_all = context.all_reduce(tf.distribute.ReduceOp.SUM, number)
    mean_of_all = context.all_reduce(tf.distribute.ReduceOp.SUM, number / of_all * mean)
    spread = number / of_all * (variance + tf.square(mean - mean_of_all))
    return mean_of_all, context.all_reduce(tf.distribute.ReduceOp.SUM, spread)


@keras.saving.register_keras_serializable(package="deeplab")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras' own layer, with the same weights and results; on TensorFlow its training is one fused operator.

    Keras computes mean, variance and the rest one after the other, each over the whole feature map, forward and
    backward; fused, a training step of MobileNetV2 DeepLabv3 takes two thirds of the time on a CPU
    (benchmarks/training_speed.py). Statistics over several replicas are those of `batch_moments`. All other backends
    go Keras' own way.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """`[b, h, w, c]` to the same shape, normalized by the batch in training, else by the moving statistics."""
        own_way = not (training and self.trainable) or mask is not None
        if own_way or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        output, mean, variance = self._over_replicas(inputs) if self.synchronized else self._fused(inputs)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * now)
        return output

    def _over_replicas(self, inputs: Any) -> tuple[Any, Any, Any]:
        mean, variance = batch_moments(inputs, synchronized=True)
        whole = ops.cast(inputs, "float32")
        output = ops.batch_normalization(whole, mean, variance, -1, self.beta, self.gamma, self.epsilon)
        return ops.cast(output, self.compute_dtype), mean, variance

    def _fused(self, inputs: Any) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        none = tf.zeros((0,))
        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=none,
            variance=none,
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operator gives the unbiased variance, n / (n - 1) times that of the pixels; Keras keeps the latter.
        number = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        return output, mean, variance * ((number - 1) / number)
