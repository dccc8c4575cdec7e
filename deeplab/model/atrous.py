"""Atrous convolution: strides become atrous rates, and the weights stay the same.

DeepLabv3, arXiv:1706.05587, sec. 3.1 and 3.2. `stride_plan` and `rate_after` hold the rule for the backbone and
`rates_at` for the head; the only other factor on a rate is ResNet's multi-grid, which belongs to the architecture.
At a strided layer, "same" padding is symmetric only if the input has an odd size, hence the sizes 32k+1 of
`deeplab.model.resize`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import KerasTensor, layers

from deeplab.config import ModelConfig
from deeplab.model.activations import hard_swish
from deeplab.model.batch_norm import BatchNorm

REFERENCE_OUTPUT_STRIDE = 16
"""The output stride for which `ModelConfig.aspp_rates` are defined."""


@dataclass(frozen=True)
class StrideRate:
    """Stride and atrous rate of one layer, measured in pixels of its input."""

    stride: int = 1
    rate: int = 1


def stride_plan(strides: Sequence[int], output_stride: int) -> tuple[StrideRate, ...]:
    """Return the stride and rate of each backbone layer so that the output has `output_stride`.

    After the output stride is reached, every further stride is replaced by 1. The layer that loses its stride keeps
    its rate, because its own input still has the nominal resolution; the layers after it multiply their rates by the
    lost stride. Strides 2, 2, 2 at output stride 4 have the rates 1, 1, 1; the next layer has rate 2.

    Args:
        strides: nominal stride of each layer, in order.
        output_stride: input pixels per feature; must be the product of the first one or more strides.

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


def head_norm(config: ModelConfig) -> Norm:
    """Return the batch norm of ASPP, decoder and auxiliary head, with the published momentum as the default."""
    return Norm(config.batch_norm_momentum or 0.9997, 1e-5)


def conv_norm(
    x: KerasTensor,
    filters: int | None,
    kernel_size: int,
    norm: Norm,
    name: str,
    *,
    stride_rate: StrideRate = StrideRate(),
    activation: str | None = "relu",
    initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> KerasTensor:
    """Apply an atrous convolution without bias, batch norm and an activation to `x` `[b, h, w, c]`.

    The convolution is depthwise if `filters` is None. The layers are called `name`, `name`_bn and `name`_`activation`.
    The activation is a name that Keras knows, "hard_swish" or None.

    Returns:
        `[b, h / stride, w / stride, filters]`, or with c channels after a depthwise convolution.
    """
    # In Keras 3 an initializer object that is shared gives all layers of one shape the same values.
    kernel = initializer if isinstance(initializer, str) else initializer.clone()
    stride, rate = stride_rate.stride, stride_rate.rate
    arguments = {"strides": stride, "dilation_rate": rate, "padding": "same", "use_bias": False, "name": name}
    if filters is None:
        conv = layers.DepthwiseConv2D(kernel_size, depthwise_initializer=kernel, **arguments)
    else:
        conv = layers.Conv2D(filters, kernel_size, kernel_initializer=kernel, **arguments)
    x = BatchNorm(momentum=norm.momentum, epsilon=norm.epsilon, name=f"{name}_bn")(conv(x))
    if activation is None:
        return x
    function = hard_swish if activation == "hard_swish" else activation
    return layers.Activation(function, name=f"{name}_{activation}")(x)


def separable_conv_norm(x: KerasTensor, filters: int, norm: Norm, name: str, rate: int = 1) -> KerasTensor:
    """Apply an atrous separable 3x3 convolution with batch norm and ReLU after both parts.

    The layer is that of DeepLabv3+ (arXiv:1802.02611, sec. 3.2); its initial values are those of tensorflow/models
    research/deeplab, core/utils.py.
    """
    depthwise_init, pointwise_init = (keras.initializers.TruncatedNormal(stddev=stddev) for stddev in (0.33, 0.06))
    planned = StrideRate(rate=rate)
    x = conv_norm(x, None, 3, norm, f"{name}_depthwise", stride_rate=planned, initializer=depthwise_init)
    return conv_norm(x, filters, 1, norm, f"{name}_pointwise", initializer=pointwise_init)
