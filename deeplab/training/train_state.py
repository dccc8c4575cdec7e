"""All that changes in a training, in one place."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from deeplab.config import TrainConfig
from deeplab.model.build import build_model
from deeplab.model.quantization.transform import quantize_aware
from deeplab.training.auxiliary_head import with_auxiliary_head
from deeplab.training.checkpoint import Parts
from deeplab.training.optimizer import freeze, make_optimizer
from deeplab.training.train_step import averaged_variables, make_averages


@dataclasses.dataclass(frozen=True, eq=False)
class TrainState:
    """All that changes in a training.

    Attributes:
        network: from pixels to logits; what is saved.
        model: the same, with the auxiliary head if there is one; what learns.
        plain: the network as pretrained weights know it, without simulated int8; the same variables.
        optimizer: from `make_optimizer`.
        averages: of `averaged_variables(model)`; empty without a moving average.
    """

    network: keras.Model
    model: keras.Model
    plain: keras.Model
    optimizer: keras.optimizers.Optimizer
    averages: list[tf.Variable]

    @property
    def parts(self) -> Parts:
        """Every variable that the next update depends on."""
        return {"model": self.model.variables, "optimizer": self.optimizer.variables, "average": self.averages}

    def weights(self) -> list[np.ndarray]:
        """Those that count, in the order of the network's own: the averages where there are any."""
        by_variable = dict(zip(map(id, averaged_variables(self.model)), self.averages, strict=False))
        return [np.asarray(by_variable.get(id(variable), variable)) for variable in self.network.weights]


def make_train_state(config: TrainConfig) -> TrainState:
    """A fresh network with its optimizer, computing in the precision asked for."""
    settings = config.training
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(settings.precision)
    try:
        plain = build_model(config.model, settings.output_stride)
        network = quantize_aware(plain) if settings.quantize_aware else plain
        model = with_auxiliary_head(network, config.model) if settings.auxiliary_weight else network
    finally:
        keras.config.set_dtype_policy(before)
    freeze(model, settings)
    averages = make_averages(model) if settings.ema_decay else []
    return TrainState(network, model, plain, make_optimizer(settings, model), averages)
