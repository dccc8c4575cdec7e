"""The layers that stand in for those of a float network where int8 is simulated."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab.model.batch_norm import batch_moments
from deeplab.model.quantization.rounding import (
    LEAST,
    STEPS,
    fake_quantize,
    fake_quantize_kernel,
    int8_grid,
    kernel_steps,
    on_steps,
    round_twice,
)

PIXEL_SCALE = 2.0 / 255.0
PIXEL_ZERO = 127
"""Of the input of every int8 file: byte u stands for (u - 127) * 2 / 255, so that raw bytes are pixels.

The float network has u * 2 / 255 - 1, where -1 lies between two steps; the file is half a gray level brighter.
"""
PIXEL_RANGE = (-PIXEL_ZERO * PIXEL_SCALE, (255 - PIXEL_ZERO) * PIXEL_SCALE)


@keras.saving.register_keras_serializable(package="deeplab")
class PixelGrid(keras.layers.Layer):
    """Pixels 0..255 to about -1..1 as an int8 file sees them; as `Normalize` has them where nothing is simulated."""

    simulated = True

    def call(self, image: Any) -> Any:
        """`[b, h, w, 3]` 0..255 to `[b, h, w, 3]`."""
        return (image - float(PIXEL_ZERO)) * PIXEL_SCALE if self.simulated else image * PIXEL_SCALE - 1.0


@keras.saving.register_keras_serializable(package="deeplab")
class Range(keras.layers.Layer):
    """Brings tensors that share a scale and a zero point in the file onto their grid.

    Each tensor that is computed, a source, has its lowest and highest value observed for itself, and the range spans
    them all: what is concatenated has to have one range. What is only moved or mixed (resized) is no source.

    Args:
        sources: how many tensors the range is observed on.
        fixed: (lowest, highest) where they are known beforehand; nothing is observed then.

    Attributes:
        simulated: whether values are brought onto the grid; otherwise they pass as they are.
        momentum: how much the observed values keep of what they were, while they follow; None lets them stay.
    """

    def __init__(self, sources: int = 1, fixed: tuple[float, float] | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.sources, self.fixed = sources, fixed
        self.simulated = True
        self.momentum: float | None = None

    def build(self, shape: Any) -> None:
        """Lowest and highest value of each source, `[sources]`; zero until something is observed."""
        if self.fixed is None:
            for name in ("low", "high"):
                weight = self.add_weight(shape=(self.sources,), initializer="zeros", name=name, aggregation="mean")
                setattr(self, name, weight)

    def call(self, x: Any, source: int | None = None) -> tuple[Any, Any]:
        """`x` of any shape on the grid, and the grid's step, a scalar; `source` is its number where it is one."""
        if self.momentum is not None and self.fixed is None and source is not None:
            self._observe(ops.stop_gradient(x), source, self.momentum)
        low, high = self.ends()
        step = ops.stop_gradient(ops.maximum((high - low) / STEPS, LEAST))
        return (fake_quantize(x, low, high) if self.simulated else x), step

    def ends(self) -> tuple[Any, Any]:
        """The lowest and the highest value, two scalars; zero lies between them."""
        if self.fixed is not None:
            low, high = (ops.convert_to_tensor(end, "float32") for end in self.fixed)
            return low, high
        return ops.minimum(ops.min(self.low), 0.0), ops.maximum(ops.max(self.high), 0.0)

    def grid(self) -> tuple[float, int]:
        """(scale, zero point) of the tensors in an int8 file; the scale is 0 where nothing was observed."""
        low, high = (float(ops.convert_to_numpy(end)) for end in self.ends())
        return int8_grid(low, high) if high > low else (0.0, 0)

    def compute_output_spec(self, x: Any, source: int | None = None) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """The shape of `x`, and a scalar."""
        return keras.KerasTensor(x.shape, dtype=x.dtype), keras.KerasTensor((), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {**super().get_config(), "sources": self.sources, "fixed": self.fixed}

    def _observe(self, x: Any, source: int, momentum: float) -> None:
        """Moves the observed values of one source towards those of `x`."""
        moves = np.where(np.arange(self.sources) == source, 1.0 - momentum, 0.0).astype(np.float32)
        for weight, found in ((self.low, ops.min(x)), (self.high, ops.max(x))):
            weight.assign(weight * (1.0 - moves) + found * moves)


@keras.saving.register_keras_serializable(package="deeplab")
class FoldedConvolution(keras.layers.Layer):
    """A convolution with the batch norm behind it as the one convolution that the file has, its kernel in 8 bit.

    The layers themselves are held, not copied: their names, variables and whether they learn are as ever. The bias
    is rounded to the 32 bits that it has in the file, whose step is that of the input times that of the kernel.

    Args:
        conv: a Conv2D or DepthwiseConv2D; built.
        norm: a BatchNormalization; built. None where there is none.

    Attributes:
        simulated: whether kernel and bias are brought onto their grids.
        batch_statistics: whether a batch norm that learns takes, in training, the statistics of the batch. The kernel
            is rounded as the moving statistics fold it, and its output corrected (arXiv:1712.05877, sec. 3.2; with the
            correction, arXiv:1806.08342, sec. 3.2.2), so that rounding does not jitter with the batch.
        behind: the lowest and the highest value of the range that the output is brought into.
        rounds_twice: whether that is done as the builtin kernels do it (`rounding.round_twice`), not as XNNPACK.
        steps: of the kernel's channels, `[c]`, where they are given; None takes those that its largest values need.
    """

    def __init__(
        self, conv: keras.layers.Layer, norm: keras.layers.BatchNormalization | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.conv, self.norm = conv, norm
        self.simulated = True
        self.batch_statistics = True
        self.behind: Callable[[], tuple[Any, Any]] | None = None
        self.rounds_twice = False
        self.steps: np.ndarray | None = None

    def build(self, *shapes: Any) -> None:
        """The layers that it holds are built."""

    def call(self, x: Any, step: Any, training: bool = False) -> Any:
        """`[b, h, w, c]` to what the layers give one after the other; `step` is that of the grid of `x`, a scalar."""
        conv, norm = self.conv, self.norm
        if norm is None:
            kernel, steps = self._rounded(conv.kernel)
            y = self._convolve(x, kernel)
            y = y if conv.bias is None else y + self._rounded_bias(conv.bias, step * steps)
            return conv.activation(self._as_kernels_round(y, step * steps))
        deviation = ops.sqrt(norm.moving_variance + norm.epsilon)
        slope = norm.gamma / deviation
        kernel, steps = self._rounded(conv.kernel * (ops.expand_dims(slope, -1) if self._depthwise else slope))
        if training and norm.trainable and self.batch_statistics:
            return self._with_batch_statistics(norm, x, kernel, deviation)
        mean = norm.moving_mean if conv.bias is None else norm.moving_mean - conv.bias
        y = self._convolve(x, kernel) + self._rounded_bias(norm.beta - mean * slope, step * steps)
        return self._as_kernels_round(y, step * steps)

    def compute_output_spec(self, x: Any, step: Any, training: bool = False) -> keras.KerasTensor:
        """That of the convolution."""
        return self.conv.compute_output_spec(x)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        layers = {"conv": self.conv, "norm": self.norm}
        return {**super().get_config(), **{k: v and keras.saving.serialize_keras_object(v) for k, v in layers.items()}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FoldedConvolution":
        """The inverse of `get_config`."""
        layers = {key: keras.saving.deserialize_keras_object(config[key]) for key in ("conv", "norm")}
        return cls(**{**config, **layers})

    def _with_batch_statistics(self, norm: keras.layers.BatchNormalization, x: Any, kernel: Any, deviation: Any) -> Any:
        """The output under the statistics of the batch; the moving ones move on."""
        plain = self._convolve(x, self.conv.kernel)
        mean, variance = batch_moments(plain, norm.synchronized)
        batch_deviation = ops.sqrt(variance + norm.epsilon)
        y = self._convolve(x, kernel) * (deviation / batch_deviation)
        y = y + (norm.beta - mean * norm.gamma / batch_deviation)
        bias = 0.0 if self.conv.bias is None else self.conv.bias
        for moving, found in ((norm.moving_mean, mean + bias), (norm.moving_variance, variance)):
            moving.assign(norm.momentum * moving + (1.0 - norm.momentum) * ops.stop_gradient(found))
        return y

    def _convolve(self, x: Any, kernel: Any) -> Any:
        """The convolution alone, without bias and activation."""
        conv = self.conv
        convolve = ops.depthwise_conv if self._depthwise else ops.conv
        return convolve(
            x, kernel, strides=conv.strides, padding=conv.padding, dilation_rate=conv.dilation_rate,
            data_format="channels_last",
        )  # fmt: skip

    def _rounded(self, kernel: Any) -> tuple[Any, Any]:
        """`kernel` on its grid where that is simulated, and the steps of its channels, `[c]`."""
        if not self._depthwise:
            steps = self._steps_of(kernel)
            return (fake_quantize_kernel(kernel, steps) if self.simulated else kernel), steps
        # A depthwise kernel is [h, w, c, 1], and its channels are the last axis of the file's.
        last = ops.transpose(kernel, (0, 1, 3, 2))
        steps = self._steps_of(last)
        return (ops.transpose(fake_quantize_kernel(last, steps), (0, 1, 3, 2)) if self.simulated else kernel), steps

    def _steps_of(self, kernel: Any) -> Any:
        """The steps `[c]` of a kernel `[..., c]`: its own, or those that were given."""
        return kernel_steps(kernel) if self.steps is None else ops.convert_to_tensor(self.steps, "float32")

    def _rounded_bias(self, bias: Any, steps: Any) -> Any:
        """`bias` `[c]` as the 32 bits of the file hold it, where that is simulated."""
        return on_steps(bias, steps) if self.simulated else bias

    def _as_kernels_round(self, y: Any, steps: Any) -> Any:
        """The sums `y`, which count in `steps` `[c]`, on their way to the grid behind."""
        if not (self.simulated and self.rounds_twice and self.behind):
            return y
        low, high = self.behind()
        return round_twice(y, steps, (high - low) / STEPS)

    @property
    def _depthwise(self) -> bool:
        return isinstance(self.conv, keras.layers.DepthwiseConv2D)


def unfolded_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, those within a folded convolution one by one."""
    for layer in model.layers:
        if isinstance(layer, FoldedConvolution):
            yield layer.conv
            if layer.norm is not None:
                yield layer.norm
        else:
            yield layer
