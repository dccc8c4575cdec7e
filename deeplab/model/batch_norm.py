"""Batch norm that is trained by one operator."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="deeplab")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras' own layer, with the same weights and results; on TensorFlow its training is one fused operator.

    Keras computes mean, variance and the rest one after the other, each over the whole feature map, forward and
    backward; fused, a training step of MobileNetV2 DeepLabv3 takes two thirds of the time on a CPU
    (benchmarks/training_speed.py). Statistics over several replicas, and all other backends, go Keras' own way.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """`[b, h, w, c]` to the same shape, normalised by the batch in training, else by the moving statistics."""
        own_way = not (training and self.trainable) or self.synchronized or mask is not None
        if own_way or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
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
        variance = variance * ((number - 1) / number)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * now)
        return output
