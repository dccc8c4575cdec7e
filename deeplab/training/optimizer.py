"""The optimizer: its schedule, what decays, and which variables learn faster."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.model.quantization.layers import Range, unfolded_layers
from deeplab.pretrained.import_report import BACKBONE


@keras.saving.register_keras_serializable(package="deeplab")
class SlowStartPoly(keras.optimizers.schedules.LearningRateSchedule):
    """A constant low rate for the first updates, then lr * (1 - n / N) ** power, n counted from there.

    "Poly": DeepLabv2, arXiv:1606.00915, sec. 4.1.1; the slow start as in tensorflow/models research/deeplab,
    utils/train_utils.py.
    """

    def __init__(self, learning_rate: float, steps: int, power: float, slow_steps: int, slow_rate: float) -> None:
        super().__init__()
        self.learning_rate, self.steps, self.power = learning_rate, steps, power
        self.slow_steps, self.slow_rate = slow_steps, slow_rate

    def __call__(self, step: Any) -> Any:
        """The rate of the update after `step` others, a float32 scalar."""
        step = ops.cast(step, "float32")
        left = 1.0 - ops.clip((step - self.slow_steps) / (self.steps - self.slow_steps), 0.0, 1.0)
        poly = self.learning_rate * ops.power(left, self.power)
        return ops.where(step < self.slow_steps, ops.cast(self.slow_rate, "float32"), poly) if self.slow_steps else poly

    def get_config(self) -> dict[str, Any]:
        """The arguments it was made with."""
        names = ("learning_rate", "steps", "power", "slow_steps", "slow_rate")
        return {name: getattr(self, name) for name in names}


def make_optimizer(config: TrainingConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """A built optimizer for the trainable variables of `model`, with the multipliers of `config`.

    SGD with momentum leaves weight decay to the loss; AdamW (arXiv:1711.05101) does it itself, on the same kernels.

    Raises:
        UserError: a factor is for layers that the model has not.
    """
    schedule = SlowStartPoly(
        config.learning_rate, config.steps, config.power, config.slow_start_steps, config.slow_start_learning_rate
    )
    for beginning in config.layer_multipliers:
        if not any(layer.name.startswith(beginning) for layer in model.layers):
            names = sorted({layer.name.partition("_")[0] for layer in model.layers if layer.weights})
            found = f"no layer begins with {beginning!r}"
            raise UserError("training.layer_multipliers", found, f"they begin with {', '.join(names)}")
    multipliers = {v.path: multiplier(v, config) for v in model.trainable_variables}
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "sgd":
        optimizer = MultipliedSGD(schedule, momentum=config.momentum)
    else:
        optimizer = MultipliedAdamW(schedule, weight_decay=config.weight_decay)
        kernels = {id(kernel) for kernel in decayed_kernels(model)}
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if id(v) not in kernels])
    optimizer.multipliers = multipliers
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def multiplier(variable: keras.Variable, config: TrainingConfig) -> float:
    """The factor on the learning rate of one variable.

    As slim's gradient multipliers (tensorflow/models research/deeplab, utils/train_utils.py), where a bias of the last
    layers has both factors. On the rate rather than on the gradient: the same for SGD, and not lost on AdamW.
    """
    ours = [beginning for beginning in config.layer_multipliers if variable.path.startswith(beginning)]
    factor = config.backbone_multiplier if variable.path.startswith(BACKBONE) else config.last_layers_multiplier
    if ours:
        factor = config.layer_multipliers[max(ours, key=len)]
    return factor * config.bias_multiplier if variable.name == "bias" else factor


def freeze(model: keras.Model, config: TrainingConfig) -> None:
    """Takes what must not learn out of the training: all batch norms, all of the backbone, ranges that are fixed."""
    for layer in unfolded_layers(model):
        norm = isinstance(layer, keras.layers.BatchNormalization)
        if norm:
            layer.synchronized = config.batch_norm == "sync"
        still = config.backbone_multiplier == 0 and layer.name.startswith(BACKBONE)
        fixed = isinstance(layer, Range) and config.quantization.ranges == "fixed"
        layer.trainable = not (still or fixed or (norm and config.batch_norm == "frozen"))


def decayed_kernels(model: keras.Model) -> list[keras.Variable]:
    """What weight decay acts on: the kernels of convolutions that learn, not depthwise ones, biases or batch norms."""
    convolutions = (layer for layer in unfolded_layers(model) if isinstance(layer, keras.layers.Conv2D))
    return [layer.kernel for layer in convolutions if layer.trainable]


class _Multiplied:
    """Gives each variable its own factor on the learning rate."""

    multipliers: dict[str, float]

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        pairs = list(zip(grads, trainable_variables, strict=True))
        factors = [self.multipliers[v.path] for v in trainable_variables]
        for factor in sorted(set(factors)):
            mine = [pair for pair, its in zip(pairs, factors, strict=True) if its == factor]
            super()._backend_update_step(*zip(*mine, strict=True), factor * learning_rate)  # type: ignore[misc]


class MultipliedSGD(_Multiplied, keras.optimizers.SGD):
    """SGD with a factor for each variable."""


class MultipliedAdamW(_Multiplied, keras.optimizers.AdamW):
    """AdamW with a factor for each variable."""
