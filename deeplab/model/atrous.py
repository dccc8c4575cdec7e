"""Atrous convolution: strides become atrous rates, and the weights stay the same.

DeepLabv3, arXiv:1706.05587, sec. 3.1 and 3.2. `stride_plan` and `rate_after` hold the rule for the backbone and
`rates_at` for the head; the only other factor on a rate is ResNet's multi-grid, which belongs to the architecture.
The layers below use "same" padding, which is symmetric at a strided layer only if its input has an odd size;
`deeplab.model.resize` ensures odd sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.activations import ACTIVATIONS
from deeplab.model.batch_norm import BatchNorm

REFERENCE_OUTPUT_STRIDE = 16
"""The output stride for which `ModelConfig.aspp_rates` are defined."""

Initializer: TypeAlias = str | keras.initializers.Initializer


@dataclass(frozen=True)
class StrideRate:
    """Stride and atrous rate of one layer, both in pixels of its input."""

    stride: int = 1
    rate: int = 1


def stride_plan(strides: Sequence[int], output_stride: int) -> tuple[StrideRate, ...]:
    """Return the stride and rate of each backbone layer so that the output has `output_stride`.

    After the output stride is reached, every further stride is replaced by 1. The layer that loses its stride keeps
    its rate, because its own input still has the nominal resolution; the layers after it multiply their rates by the
    lost stride.

    Args:
        strides: nominal stride of each layer, in order.
        output_stride: input pixels per feature; must be the product of the first strides.

    Raises:
        ValueError: no leading strides multiply to `output_stride`.
    """
    reached, rate, plan = 1, 1, []
    for stride in strides:
        if reached * stride <= output_stride:
            plan.append(StrideRate(stride, rate))
            reached *= stride
        else:
            plan.append(StrideRate(1, rate))
            rate *= stride
    if reached != output_stride:
        raise ValueError(f"strides {tuple(strides)} multiply to {reached}, expected output_stride {output_stride}")
    return tuple(plan)


def rate_after(layer: StrideRate, nominal_stride: int) -> int:
    """Return the rate after a layer: its own rate times the factor by which its nominal stride was reduced."""
    return layer.rate * nominal_stride // layer.stride


def rates_at(rates: Sequence[int], output_stride: int) -> tuple[int, ...]:
    """Convert the rates of ASPP to another output stride: 6/12/18 become 12/24/36 at 8 and 3/6/9 at 32.

    Args:
        rates: atrous rates at output stride 16.
        output_stride: the output stride at which the rates are used.

    Raises:
        ValueError: a rate is not an integer at `output_stride`.
    """
    scaled = [rate * REFERENCE_OUTPUT_STRIDE / output_stride for rate in rates]
    if any(rate != int(rate) for rate in scaled):
        raise ValueError(
            f"aspp_rates {tuple(rates)} (defined at output stride {REFERENCE_OUTPUT_STRIDE}) are not integers at output"
            f" stride {output_stride}"
        )
    return tuple(int(rate) for rate in scaled)


@dataclass(frozen=True)
class Norm:
    """The batch norm of one part of the network: momentum of its moving statistics and epsilon."""

    momentum: float
    epsilon: float

    def __call__(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Normalize `x` `[b, h, w, c]` per channel with a new layer `name`."""
        return BatchNorm(momentum=self.momentum, epsilon=self.epsilon, name=name)(x)


def head_norm(config: ModelConfig) -> Norm:
    """Return the batch norm of ASPP, decoder and auxiliary head, with the published momentum as the default."""
    return Norm(config.batch_norm_momentum or 0.9997, 1e-5)


def clone_initializer(initializer: Initializer) -> Initializer:
    """Copy `initializer` for one layer: in Keras 3 a shared object gives all layers of one shape the same values."""
    return initializer if isinstance(initializer, str) else initializer.clone()


def conv_norm(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    norm: Norm,
    name: str,
    *,
    stride_rate: StrideRate = StrideRate(),
    activation: str | None = "relu",
    initializer: Initializer = "glorot_uniform",
) -> keras.KerasTensor:
    """Apply an atrous convolution without bias, batch norm and an activation to `x` `[b, h, w, c]`.

    The layers are called `name`, `name`_bn and `name`_`activation`. The activation is a name that Keras knows,
    "hard_swish" or None.

    Returns:
        `[b, h / stride, w / stride, filters]`.
    """
    kernel = clone_initializer(initializer)
    conv = layers.Conv2D(filters, kernel_size, kernel_initializer=kernel, **_conv_arguments(name, stride_rate))
    return _norm_and_activation(conv(x), norm, activation, name)


def depthwise_norm(
    x: keras.KerasTensor,
    norm: Norm,
    name: str,
    *,
    kernel_size: int = 3,
    stride_rate: StrideRate = StrideRate(),
    activation: str | None = "relu",
    initializer: Initializer = "glorot_uniform",
) -> keras.KerasTensor:
    """Apply an atrous depthwise convolution without bias, batch norm and an activation, as `conv_norm` does."""
    kernel = clone_initializer(initializer)
    conv = layers.DepthwiseConv2D(kernel_size, depthwise_initializer=kernel, **_conv_arguments(name, stride_rate))
    return _norm_and_activation(conv(x), norm, activation, name)


def separable_conv_norm(
    x: keras.KerasTensor, filters: int, norm: Norm, name: str, *, rate: int = 1
) -> keras.KerasTensor:
    """Apply an atrous separable 3x3 convolution with batch norm and ReLU after both parts.

    The layer is that of DeepLabv3+ (arXiv:1802.02611, sec. 3.2); its initial values are those of tensorflow/models
    research/deeplab, core/utils.py.
    """
    depthwise_init = keras.initializers.TruncatedNormal(stddev=0.33)
    pointwise_init = keras.initializers.TruncatedNormal(stddev=0.06)
    x = depthwise_norm(x, norm, f"{name}_depthwise", stride_rate=StrideRate(rate=rate), initializer=depthwise_init)
    return conv_norm(x, filters, 1, norm, f"{name}_pointwise", initializer=pointwise_init)


def _conv_arguments(name: str, stride_rate: StrideRate) -> dict[str, Any]:
    stride, rate = stride_rate.stride, stride_rate.rate
    return {"strides": stride, "dilation_rate": rate, "padding": "same", "use_bias": False, "name": name}


def _norm_and_activation(x: keras.KerasTensor, norm: Norm, activation: str | None, name: str) -> keras.KerasTensor:
    x = norm(x, f"{name}_bn")
    if activation is None:
        return x
    return layers.Activation(ACTIVATIONS.get(activation, activation), name=f"{name}_{activation}")(x)
