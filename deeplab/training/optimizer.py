"""The optimizer: learning-rate schedule, weight decay, and learning-rate factors of single variables."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.model.backbones.features import BACKBONE_PREFIX
from deeplab.model.batch_norm_statistics import batch_norms
from deeplab.model.quantization.layers import Range, unfolded_layers


class _SlowStart(keras.optimizers.schedules.LearningRateSchedule):
    """A constant low rate for the first updates, then `rate`, whose updates are counted from their end.

    The slow start is that of tensorflow/models research/deeplab, utils/train_utils.py.
    """

    def __init__(self, learning_rate: float, slow_steps: int, slow_rate: float) -> None:
        super().__init__()
        self.learning_rate, self.slow_steps, self.slow_rate = learning_rate, slow_steps, slow_rate

    def rate(self, step: Any) -> Any:
        """Return the learning rate `step` updates after the slow start, a float32 scalar."""
        raise NotImplementedError

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of update number `step`, from 0, a float32 scalar."""
        step = ops.cast(step, "float32")
        rate = self.rate(step - self.slow_steps)
        return ops.where(step < self.slow_steps, ops.cast(self.slow_rate, "float32"), rate) if self.slow_steps else rate

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return dict(vars(self))


@keras.saving.register_keras_serializable(package="deeplab")
class SlowStartPoly(_SlowStart):
    """lr * (1 - n / N) ** power (DeepLabv2, arXiv:1606.00915, sec. 4.1.1), after a slow start."""

    def __init__(self, learning_rate: float, steps: int, power: float, slow_steps: int, slow_rate: float) -> None:
        super().__init__(learning_rate, slow_steps, slow_rate)
        self.steps, self.power = steps, power

    def rate(self, step: Any) -> Any:
        """Return the learning rate `step` updates after the slow start, a float32 scalar."""
        left = 1.0 - ops.clip(step / (self.steps - self.slow_steps), 0.0, 1.0)
        return self.learning_rate * ops.power(left, self.power)


@keras.saving.register_keras_serializable(package="deeplab")
class SlowStartStep(_SlowStart):
    """lr * factor ** floor(n / every) (DeepLabv1, arXiv:1412.7062, sec. 4), after a slow start."""

    def __init__(self, learning_rate: float, every: int, factor: float, slow_steps: int, slow_rate: float) -> None:
        super().__init__(learning_rate, slow_steps, slow_rate)
        self.every, self.factor = every, factor

    def rate(self, step: Any) -> Any:
        """Return the learning rate `step` updates after the slow start, a float32 scalar."""
        return self.learning_rate * ops.power(self.factor, ops.floor(step / self.every))


def make_optimizer(config: TrainingConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """Build an optimizer for the trainable variables of `model`, with the learning-rate factors of `config`.

    With SGD, weight decay is part of the loss; AdamW (arXiv:1711.05101) applies it to the same kernels itself.

    Raises:
        UserError: `layer_multipliers` has a prefix that no layer has.
    """
    slow_start = (config.slow_start_steps, config.slow_start_learning_rate)
    schedule: _SlowStart = SlowStartPoly(config.learning_rate, config.steps, config.power, *slow_start)
    if config.learning_policy == "step":
        schedule = SlowStartStep(config.learning_rate, config.decay_steps, config.decay_factor, *slow_start)
    for prefix in config.layer_multipliers:
        if not any(layer.name.startswith(prefix) for layer in model.layers):
            names = sorted({layer.name.partition("_")[0] for layer in model.layers if layer.weights})
            problem = f"no layer name starts with {prefix!r}"
            raise UserError("training.layer_multipliers", problem, f"layer names start with {', '.join(names)}")
    multipliers = {v.path: multiplier(v, config) for v in model.trainable_variables}
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "sgd":
        optimizer = MultipliedSGD(schedule, momentum=config.momentum)
    else:
        optimizer = MultipliedAdamW(schedule, weight_decay=decay_factor(config))
        kernels = {id(kernel) for kernel in decayed_kernels(model)}
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if id(v) not in kernels])
    optimizer.multipliers = multipliers
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def multiplier(variable: keras.Variable, config: TrainingConfig) -> float:
    """Return the learning-rate factor of one variable.

    These are slim's gradient multipliers (tensorflow/models research/deeplab, utils/train_utils.py), where a bias of
    the last layers has both factors. They multiply the learning rate instead of the gradient, which is the same for SGD
    and has an effect on AdamW too.
    """
    prefixes = [prefix for prefix in config.layer_multipliers if variable.path.startswith(prefix)]
    in_backbone = variable.path.startswith(BACKBONE_PREFIX)
    factor = config.backbone_multiplier if in_backbone else config.last_layers_multiplier
    if prefixes:
        factor = config.layer_multipliers[max(prefixes, key=len)]
    return factor * config.bias_multiplier if variable.name == "bias" else factor


def set_trainable(model: keras.Model, config: TrainingConfig) -> None:
    """Set what `config` trains: frozen are batch norms or only their statistics, the backbone, or fixed ranges."""
    for layer in unfolded_layers(model):
        frozen_backbone = config.backbone_multiplier == 0 and layer.name.startswith(BACKBONE_PREFIX)
        fixed_range = isinstance(layer, Range) and config.quantization.ranges == "fixed"
        layer.trainable = not (frozen_backbone or fixed_range)
    for norm in batch_norms(model):
        norm.synchronized = config.batch_norm == "sync"
        norm.frozen_statistics = config.batch_norm == "frozen_statistics"
        norm.trainable = norm.trainable and config.batch_norm != "frozen"


def published_weight_decay(network: ModelConfig) -> float:
    """Return the weight decay with which a network was published.

    Heads v1 and v2, and VGG-16: 5e-4 (arXiv:1412.7062, sec. 4; arXiv:1606.00915, sec. 4.1). ResNet: 1e-4; MobileNet and
    Xception: 4e-5 (tensorflow/models research/deeplab, train.py).
    """
    if network.head in ("v1", "v2") or network.backbone == "vgg16":
        return 5e-4
    return 1e-4 if network.backbone.startswith("resnet") else 4e-5


def decay_factor(config: TrainingConfig) -> float:
    """Return the weight decay; raise ValueError if it was left to the network, see `published_weight_decay`."""
    if config.weight_decay is None:
        raise ValueError("weight_decay is None: set it, or complete the settings with complete_settings")
    return config.weight_decay


def decayed_kernels(model: keras.Model) -> list[keras.Variable]:
    """Return the kernels that weight decay acts on: those of trainable convolutions, except depthwise ones."""
    convolutions = (layer for layer in unfolded_layers(model) if isinstance(layer, keras.layers.Conv2D))
    return [layer.kernel for layer in convolutions if layer.trainable]


class _Multiplied:
    """Multiplies the learning rate of each variable by its factor.

    Attributes:
        multipliers: factor by variable path.
    """

    multipliers: dict[str, float]

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        pairs = list(zip(grads, trainable_variables, strict=True))
        factors = [self.multipliers[v.path] for v in trainable_variables]
        for factor in sorted(set(factors)):
            group = [pair for pair, its in zip(pairs, factors, strict=True) if its == factor]
            super()._backend_update_step(*zip(*group, strict=True), factor * learning_rate)  # type: ignore[misc]


class MultipliedSGD(_Multiplied, keras.optimizers.SGD):
    """SGD with a learning-rate factor for each variable."""


class MultipliedAdamW(_Multiplied, keras.optimizers.AdamW):
    """AdamW with a learning-rate factor for each variable."""
