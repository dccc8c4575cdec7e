"""The layers that replace those of a float network in a quantization-aware one."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab.model.batch_norm import BatchNorm, batch_moments
from deeplab.model.quantization.rounding import (
    INTERVALS,
    MINIMUM_SCALE,
    fake_quantize,
    fake_quantize_kernel,
    int8_parameters,
    kernel_scales,
    round_to_scale,
    round_twice,
)
from deeplab.pixels import PIXEL_SCALE

PIXEL_ZERO_POINT = 127
"""Zero point of the uint8 input of every int8 file: byte u means (u - 127) * 2 / 255, so that clients pass image
bytes unchanged.

The float network has its zero at 127.5, which no byte can represent; here every value is half a gray level brighter.
"""
PIXEL_RANGE = (-PIXEL_ZERO_POINT * PIXEL_SCALE, (255 - PIXEL_ZERO_POINT) * PIXEL_SCALE)


@keras.saving.register_keras_serializable(package="deeplab")
class PixelGrid(keras.layers.Layer):
    """Normalizes pixels as the input of an int8 file does, or as `Normalize` if `simulated` is False."""

    simulated = True

    def call(self, image: Any) -> Any:
        """Map `[b, h, w, 3]` 0..255 to `[b, h, w, 3]` in about -1..1."""
        return (image - float(PIXEL_ZERO_POINT)) * PIXEL_SCALE if self.simulated else image * PIXEL_SCALE - 1.0


@keras.saving.register_keras_serializable(package="deeplab")
class Range(keras.layers.Layer):
    """Observes and fake-quantizes the tensors that share a scale and a zero point in the file.

    The range spans the observed lowest and highest values of all its sources: tensors that are concatenated need one
    range. A source is a tensor that an operator computes; a tensor that is only moved or interpolated is not observed.

    Args:
        sources: number of tensors that the range is observed on.
        fixed: (lowest, highest) value of a range that is known in advance and not observed.

    Attributes:
        simulated: whether values are fake-quantized; otherwise they pass unchanged.
        momentum: weight of the previous observation in the moving range, 0..1; None freezes the range.
    """

    def __init__(self, sources: int = 1, fixed: tuple[float, float] | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.sources, self.fixed = sources, fixed
        self.simulated = True
        self.momentum: float | None = None

    def build(self, shape: Any) -> None:
        """Create the lowest and highest value of each source, `[sources]`, with zeros."""
        if self.fixed is None:
            arguments = {"shape": (self.sources,), "initializer": "zeros", "aggregation": "mean"}
            self.low, self.high = (self.add_weight(name=name, **arguments) for name in ("low", "high"))

    def call(self, x: Any, source: int | None = None) -> tuple[Any, Any]:
        """Return `x` fake-quantized and the scale, a scalar; `source` is the number of `x` if it is a source."""
        if self.momentum is not None and self.fixed is None and source is not None:
            weights = np.where(np.arange(self.sources) == source, 1.0 - self.momentum, 0.0).astype(np.float32)
            for moving, extreme in ((self.low, ops.min), (self.high, ops.max)):
                moving.assign(moving * (1.0 - weights) + extreme(ops.stop_gradient(x)) * weights)
        low, high = self.bounds()
        scale = ops.stop_gradient(ops.maximum((high - low) / INTERVALS, MINIMUM_SCALE))
        return (fake_quantize(x, low, high) if self.simulated else x), scale

    def bounds(self) -> tuple[Any, Any]:
        """Return the lowest and the highest value, two scalars; zero lies between them."""
        if self.fixed is not None:
            low, high = (ops.convert_to_tensor(bound, "float32") for bound in self.fixed)
            return low, high
        return ops.minimum(ops.min(self.low), 0.0), ops.maximum(ops.max(self.high), 0.0)

    def parameters(self) -> tuple[float, int]:
        """Return (scale, zero point) of the tensors in an int8 file; the scale is 0 if nothing was observed."""
        low, high = (float(ops.convert_to_numpy(bound)) for bound in self.bounds())
        return int8_parameters(low, high) if high > low else (0.0, 0)

    def compute_output_spec(self, x: Any, source: int | None = None) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return the shape of `x`, and a scalar."""
        return keras.KerasTensor(x.shape, dtype=x.dtype), keras.KerasTensor((), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "sources": self.sources, "fixed": self.fixed}


@keras.saving.register_keras_serializable(package="deeplab")
class FoldedConvolution(keras.layers.Layer):
    """A convolution with its batch norm folded, as in the file, and with an 8-bit kernel.

    It refers to the original layers, so their names, variables and `trainable` stay. The bias is rounded to the 32 bits
    that it has in the file; its scale is the scale of the input times that of the kernel.

    Args:
        conv: a built Conv2D or DepthwiseConv2D.
        norm: the built BatchNorm after it, or None.
        per_tensor: whether the kernel has a single scale instead of one per output channel.

    Attributes:
        simulated: whether kernel and bias are rounded.
        uses_batch_statistics: whether a batch norm that does so in the float network uses the statistics of the batch
            in training. The kernel is still folded and rounded with the moving statistics, and the output is corrected,
            so that the rounding does not vary with the batch (arXiv:1712.05877, sec. 3.2; correction: arXiv:1806.08342,
            sec. 3.2.2).
        output_bounds: returns the bounds of the range of the output.
        rounds_twice: whether to round as the builtin kernels of TFLite (`rounding.round_twice`) instead of as XNNPACK.
        imported_scales: scales `[c]` of the kernel that were imported from a file; None computes them from the kernel.
    """

    def __init__(
        self,
        conv: keras.layers.Layer,
        norm: BatchNorm | None = None,
        per_tensor: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.conv, self.norm, self.per_tensor = conv, norm, per_tensor
        self.simulated = True
        self.uses_batch_statistics = True
        self.output_bounds: Callable[[], tuple[Any, Any]] | None = None
        self.rounds_twice = False
        self.imported_scales: np.ndarray | None = None

    def build(self, *shapes: Any) -> None:
        """Do nothing: both layers are built."""

    def call(self, x: Any, scale: Any, training: bool = False) -> Any:
        """Apply the layers to `x` `[b, h, w, c]`, whose scale is the scalar `scale`."""
        kernel, bias, norm = self.conv.kernel, self.conv.bias, self.norm
        if norm is not None:
            deviation = ops.sqrt(norm.moving_variance + norm.epsilon)
            slope = norm.gamma / deviation
            kernel = kernel * (ops.expand_dims(slope, -1) if self._depthwise else slope)
            mean = norm.moving_mean if bias is None else norm.moving_mean - bias
            bias = norm.beta - mean * slope
        kernel, scales = self._rounded_kernel(kernel)
        if norm is not None and training and norm.uses_batch_statistics and self.uses_batch_statistics:
            return self._with_batch_statistics(norm, x, kernel, deviation)
        y, scales = self._convolve(x, kernel), scale * scales
        if bias is not None:
            y = y + (round_to_scale(bias, scales) if self.simulated else bias)
        if self.simulated and self.rounds_twice and self.output_bounds:
            low, high = self.output_bounds()
            y = round_twice(y, scales, (high - low) / INTERVALS)
        return self.conv.activation(y)

    def compute_output_spec(self, x: Any, scale: Any, training: bool = False) -> keras.KerasTensor:
        """Return the output shape of the convolution."""
        return self.conv.compute_output_spec(x)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        layers = {"conv": self.conv, "norm": self.norm}
        serialized = {k: v and keras.saving.serialize_keras_object(v) for k, v in layers.items()}
        return {**super().get_config(), **serialized, "per_tensor": self.per_tensor}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FoldedConvolution":
        """Create the layer from the result of `get_config`."""
        layers = {key: keras.saving.deserialize_keras_object(config[key]) for key in ("conv", "norm")}
        return cls(**{**config, **layers})

    def _with_batch_statistics(self, norm: BatchNorm, x: Any, kernel: Any, deviation: Any) -> Any:
        """Return the output with the statistics of the batch, and update the moving statistics."""
        plain = self._convolve(x, self.conv.kernel)
        mean, variance = batch_moments(plain, norm.synchronized)
        batch_deviation = ops.sqrt(variance + norm.epsilon)
        y = self._convolve(x, kernel) * (deviation / batch_deviation)
        y = y + (norm.beta - mean * norm.gamma / batch_deviation)
        bias = 0.0 if self.conv.bias is None else self.conv.bias
        for moving, current in ((norm.moving_mean, mean + bias), (norm.moving_variance, variance)):
            moving.assign(norm.momentum * moving + (1.0 - norm.momentum) * ops.stop_gradient(current))
        return y

    def _convolve(self, x: Any, kernel: Any) -> Any:
        """Apply the convolution without bias and activation."""
        conv = self.conv
        convolve = ops.depthwise_conv if self._depthwise else ops.conv
        return convolve(x, kernel, conv.strides, conv.padding, "channels_last", conv.dilation_rate)

    def _rounded_kernel(self, kernel: Any) -> tuple[Any, Any]:
        """Return `kernel`, rounded if int8 is simulated, and its scales `[c]`."""
        # A depthwise kernel is [h, w, c, 1]; the scales belong to c.
        channels_last = ops.transpose(kernel, (0, 1, 3, 2)) if self._depthwise else kernel
        imported = self.imported_scales
        computed = kernel_scales(channels_last, self.per_tensor) if imported is None else imported
        scales = ops.convert_to_tensor(computed, "float32")
        if not self.simulated:
            return kernel, scales
        rounded = fake_quantize_kernel(channels_last, scales, self.per_tensor)
        return (ops.transpose(rounded, (0, 1, 3, 2)) if self._depthwise else rounded), scales

    @property
    def _depthwise(self) -> bool:
        return isinstance(self.conv, keras.layers.DepthwiseConv2D)


def unfolded_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model, with the two layers of each folded convolution instead of it."""
    for layer in model.layers:
        if isinstance(layer, FoldedConvolution):
            yield layer.conv
            if layer.norm is not None:
                yield layer.norm
        else:
            yield layer
