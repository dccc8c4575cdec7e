"""The one idea of DeepLab: a stride may be traded for an atrous rate without touching the weights.

DeepLabv3, arXiv:1706.05587, sec. 3.1 and 3.2. `stride_plan` and `rate_after` own the rule for the backbone, `rates_at`
for the head; nothing else multiplies a rate but ResNet's multi-grid, which is part of the network. The layers below pad
"same", which is symmetric at a stride only where the feature map is odd; `deeplab.model.resize` sees to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from deeplab.model.activations import ACTIVATIONS
from deeplab.model.batch_norm import BatchNorm

REFERENCE_OUTPUT_STRIDE = 16
"""The output stride at which `ModelConfig.aspp_rates` are meant."""


@dataclass(frozen=True)
class Step:
    """How one layer moves over its input: `stride` in pixels of its input, `rate` between two taps of its kernel."""

    stride: int
    rate: int


def stride_plan(strides: Sequence[int], output_stride: int) -> tuple[Step, ...]:
    """Stride and rate of each layer of a backbone so that its output has `output_stride`.

    Once the output stride is reached, a layer that would stride does not. It keeps the rate it had, for its own input
    is still on the grid its weights know; only the layers behind it see the denser grid and take the doubled rate.

    Args:
        strides: the nominal stride of each layer in order.
        output_stride: input pixels per feature pixel; a product of leading strides.

    Raises:
        ValueError: the strides never multiply to `output_stride`.
    """
    reached, rate, plan = 1, 1, []
    for stride in strides:
        if reached * stride <= output_stride:
            plan.append(Step(stride, rate))
            reached *= stride
        else:
            plan.append(Step(1, rate))
            rate *= stride
    if reached != output_stride:
        raise ValueError(
            f"output_stride {output_stride} cannot be had from strides {tuple(strides)}: they give {reached}"
        )
    return tuple(plan)


def rate_after(step: Step, stride: int) -> int:
    """The rate of what follows a layer of nominal `stride` that moves by `step`: times the stride that it lost."""
    return step.rate * stride // step.stride


def rates_at(rates: Sequence[int], output_stride: int) -> tuple[int, ...]:
    """ASPP's rates, given at output stride 16, at another one: 6/12/18 become 12/24/36 at 8 and 3/6/9 at 32.

    Raises:
        ValueError: a rate is not whole at `output_stride`.
    """
    scaled = [rate * REFERENCE_OUTPUT_STRIDE / output_stride for rate in rates]
    if any(rate != int(rate) for rate in scaled):
        raise ValueError(f"aspp_rates {tuple(rates)} (meant at output stride 16) are not whole at {output_stride}")
    return tuple(int(rate) for rate in scaled)


@dataclass(frozen=True)
class Norm:
    """Batch norm of one part of the network: decay of its statistics and what is added to the variance."""

    momentum: float
    epsilon: float

    def __call__(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Normalizes `x` over all but the channels."""
        return BatchNorm(momentum=self.momentum, epsilon=self.epsilon, name=name)(x)


def fresh(initializer: str | keras.initializers.Initializer) -> str | keras.initializers.Initializer:
    """An initializer of its own for one layer: in Keras 3 one object gives all layers of a shape the same values."""
    return initializer if isinstance(initializer, str) else initializer.clone()


def conv_norm(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    norm: Norm,
    name: str,
    *,
    step: Step = Step(1, 1),
    activation: str | None = "relu",
    initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> keras.KerasTensor:
    """Atrous convolution without bias, batch norm, activation: `[b, h, w, c]` to `[b, h / stride, ..., filters]`."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=step.stride,
        dilation_rate=step.rate,
        padding="same",
        use_bias=False,
        kernel_initializer=fresh(initializer),
        name=name,
    )(x)
    return _activate(norm(x, f"{name}_bn"), activation, name)


def depthwise_norm(
    x: keras.KerasTensor,
    norm: Norm,
    name: str,
    *,
    kernel_size: int = 3,
    step: Step = Step(1, 1),
    activation: str | None = "relu",
    initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> keras.KerasTensor:
    """Atrous depthwise convolution, batch norm, activation: `[b, h, w, c]` to `[b, h / stride, ..., c]`."""
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=step.stride,
        dilation_rate=step.rate,
        padding="same",
        use_bias=False,
        depthwise_initializer=fresh(initializer),
        name=name,
    )(x)
    return _activate(norm(x, f"{name}_bn"), activation, name)


def separable_conv_norm(
    x: keras.KerasTensor, filters: int, norm: Norm, name: str, *, rate: int = 1
) -> keras.KerasTensor:
    """Atrous separable 3x3 convolution with batch norm and ReLU behind both of its halves (arXiv:1802.02611, sec. 3.2).

    The initial values are those of tensorflow/models research/deeplab, core/utils.py.
    """
    depthwise_start = keras.initializers.TruncatedNormal(stddev=0.33)
    pointwise_start = keras.initializers.TruncatedNormal(stddev=0.06)
    x = depthwise_norm(x, norm, f"{name}_depthwise", step=Step(1, rate), initializer=depthwise_start)
    return conv_norm(x, filters, 1, norm, f"{name}_pointwise", initializer=pointwise_start)


def _activate(x: keras.KerasTensor, activation: str | None, name: str) -> keras.KerasTensor:
    """`activation` is a name that Keras knows, or "hard_swish"."""
    if activation is None:
        return x
    return layers.Activation(ACTIVATIONS.get(activation, activation), name=f"{name}_{activation}")(x)
