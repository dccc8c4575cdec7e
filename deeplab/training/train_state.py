"""Everything that changes during a training."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from deeplab.config import TrainConfig
from deeplab.model.build import DeepLab, build_model
from deeplab.model.quantization.transform import quantize_aware
from deeplab.training.auxiliary_head import add_auxiliary_head
from deeplab.training.checkpoint import Parts
from deeplab.training.optimizer import make_optimizer, set_trainable
from deeplab.training.train_step import averaged_variables, make_averages


@dataclasses.dataclass(frozen=True, eq=False)
class TrainState:
    """Everything that changes during a training.

    Attributes:
        network: from images to logits; its weights are saved.
        model: the network that is trained: `network`, with an auxiliary head if there is one.
        float_network: the network that pretrained weights fit: `network` without simulated int8. It shares the
            variables of `network`.
        optimizer: from `make_optimizer`.
        averages: moving averages of `averaged_variables(model)`; empty if they are disabled.
    """

    network: DeepLab
    model: keras.Model
    float_network: DeepLab
    optimizer: keras.optimizers.Optimizer
    averages: list[tf.Variable]

    @property
    def parts(self) -> Parts:
        """All variables that the next update depends on."""
        return {"model": self.model.variables, "optimizer": self.optimizer.variables, "average": self.averages}

    def weights(self) -> list[np.ndarray]:
        """Return the weights to evaluate and save, in the order of `network.weights`: moving averages if enabled."""
        by_variable = dict(zip(map(id, averaged_variables(self.model)), self.averages, strict=False))
        return [np.asarray(by_variable.get(id(variable), variable)) for variable in self.network.weights]


def make_train_state(config: TrainConfig) -> TrainState:
    """Build a new network with its optimizer; the network computes in the precision of `config`."""
    settings = config.training
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(settings.precision)
    try:
        float_network = build_model(config.network, settings.output_stride)
        per_tensor = settings.quantization.per_tensor
        network = quantize_aware(float_network, per_tensor) if settings.quantize_aware else float_network
        model = add_auxiliary_head(network, config.network) if settings.auxiliary_weight else network
    finally:
        keras.config.set_dtype_policy(previous)
    set_trainable(model, settings)
    averages = make_averages(model) if settings.ema_decay else []
    return TrainState(network, model, float_network, make_optimizer(settings, model), averages)
