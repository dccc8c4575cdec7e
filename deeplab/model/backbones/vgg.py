"""VGG-16 (arXiv:1409.1556, table 1, column D) with atrous convolution, the network of DeepLabv1 and v2.

Of its 16 layers with weights, the 13 convolutions are here. The fully connected ones became convolutions of the heads
v1 and v2 (`ModelConfig.hidden_layers`). The pooling windows are 3x3 instead of 2x2, as in the published networks of
DeepLab, so that pixels stay aligned. There is no batch norm. The pixels are 0..255 minus the mean of ImageNet.

The published Caffe networks pool over 3x3 neighbors at the last pooling too, although they run it at output stride 8.
Here its window has a rate like the convolutions, so that all output strides compute the same features.

The low-level features are the outputs of the last convolutions at strides 4 and 8.
"""

from typing import Any

import keras
from keras import KerasTensor, layers, ops

from deeplab.config import ModelConfig
from deeplab.model.atrous import stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled
from deeplab.pixels import PIXEL_STD

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Number of convolutions and their channels in each stage; a pooling of stride 2 ends the stage."""
LOW_STAGE, MIDDLE_STAGE = 3, 4
"""The stages, counted from 1 as in the names of their layers, whose features are at stride 4 and 8."""


@keras.saving.register_keras_serializable(package="deeplab")
class AtrousMaxPooling(layers.MaxPooling2D):
    """Maximum over a window whose pixels are `dilation_rate` pixels apart, with "same" padding.

    The input must not be negative, because the padding is zero.

    Args:
        pool_size: pixels per side of the window, an odd number.
        strides: stride; 1 if `dilation_rate` is above 1.
        dilation_rate: distance between neighboring pixels of the window.
    """

    def __init__(self, pool_size: Any = 3, strides: Any = 1, dilation_rate: int = 1, **arguments: Any) -> None:
        super().__init__(pool_size, strides, **{**arguments, "padding": "same"})
        self.dilation_rate = dilation_rate
        if dilation_rate > 1 and self.strides != (1, 1):
            raise ValueError(f"expected stride 1 at dilation rate {dilation_rate}, got {self.strides}")

    def call(self, x: Any) -> Any:
        """Map `[b, h, w, c]` to `[b, h / stride, w / stride, c]`."""
        if self.dilation_rate == 1:
            return super().call(x)
        # Keras has no pooling with a rate. The maximum over a square is one over its rows, then one over its columns.
        for axis in (1, 2):
            x = self._along(x, axis)
        return x

    def _along(self, x: Any, axis: int) -> Any:
        """Return the maximum over the pixels of the window along one axis."""
        size, count, rate = ops.shape(x)[axis], self.pool_size[axis - 1], self.dilation_rate
        reach = count // 2 * rate
        padding = [(0, 0)] * 4
        padding[axis] = (reach, reach)
        padded = ops.pad(x, padding)
        for tap in range(count):
            index = [slice(None)] * 4
            index[axis] = slice(tap * rate, tap * rate + size)
            # The middle tap is the input itself.
            if tap != count // 2:
                x = ops.maximum(x, padded[tuple(index)])
        return x

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "dilation_rate": self.dilation_rate}


def vgg16(image: KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Build VGG-16 up to its last pooling; arguments as in `Backbone`, except that `image` has the units of Caffe."""
    x, outputs = image, {}
    for stage, ((count, channels), planned) in enumerate(
        zip(STAGES, stride_plan([2] * len(STAGES), output_stride), strict=True), start=1
    ):
        for number in range(1, count + 1):
            # Without batch norm, the initial kernel has to bring pixels of 0..255 to the magnitude 1.
            first = (stage, number) == (1, 1)
            initializer = keras.initializers.VarianceScaling(2.0 / PIXEL_STD**2 if first else 2.0)
            x = layers.Conv2D(
                scaled(channels, config),
                3,
                dilation_rate=planned.rate,
                padding="same",
                activation="relu",
                kernel_initializer=initializer,
                name=f"backbone_conv{stage}_{number}",
            )(x)
        outputs[stage] = x
        x = AtrousMaxPooling(3, planned.stride, planned.rate, name=f"backbone_pool{stage}")(x)
    return Features(high=x, low=outputs[LOW_STAGE], middle=outputs[MIDDLE_STAGE])


VARIANTS: dict[str, Backbone] = {"vgg16": vgg16}
