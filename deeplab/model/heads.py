"""The heads, by their names in `ModelConfig.head`: they turn features into logits.

In every head the layer with the output of the head is called "logits".
"""

from collections.abc import Callable

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.aspp import aspp
from deeplab.model.atrous import conv_norm, head_norm, rates_at
from deeplab.model.backbones.features import Features
from deeplab.model.decoder import decoder
from deeplab.model.resize import ResizeBilinear


def v1(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Build LargeFOV, one atrous 3x3 convolution in place of VGG-16's 7x7 (DeepLabv1, arXiv:1412.7062).

    It has no batch norm. The logits are `[b, h, w, classes]` at the output stride.
    """
    (rate,) = rates_at(config.aspp_rates, output_stride)
    return _large_fov(features.high, config, rate, "fc6", "fc7", "logits")


def v2(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Build the first ASPP, the sum of one LargeFOV per rate (DeepLabv2, arXiv:1606.00915, sec. 3.2).

    It has no batch norm and no image-level features. The logits are `[b, h, w, classes]` at the output stride.
    """
    branches = [
        _large_fov(features.high, config, rate, f"fc6_{number}", f"fc7_{number}", f"fc8_{number}")
        for number, rate in enumerate(rates_at(config.aspp_rates, output_stride), start=1)
    ]
    return layers.Add(name="logits")(branches) if len(branches) > 1 else layers.Identity(name="logits")(branches[0])


def v3(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Build ASPP with batch norm and image-level features (DeepLabv3).

    The logits are `[b, h, w, classes]` at the output stride.
    """
    return _logits(aspp(features.high, config, output_stride), config, "logits")


def v3plus(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Build ASPP and the decoder (DeepLabv3+). The logits are `[b, h, w, classes]` at stride 4."""
    return _logits(decoder(aspp(features.high, config, output_stride), features.low, config), config, "logits")


def lraspp(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Build Lite R-ASPP (MobileNetV3, arXiv:1905.02244, sec. 6.4 and fig. 10).

    The logits are `[b, h, w, classes]` at stride 8. Two details differ from the paper:

    - The features are gated by their mean over the whole image, as in squeeze-and-excite. The paper pools 49x49 windows
      with large strides, which suits its images of 1024x2048 pixels.
    - The 1x1 convolution to the logits comes before the resize. The paper resizes first. A 1x1 convolution and a
      bilinear resize commute, so the function is the same, and fewer channels are resized.
    """
    norm = head_norm(config)
    x = conv_norm(features.high, config.aspp_channels, 1, norm, "aspp0")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling_mean")(features.high)
    gate = layers.Conv2D(config.aspp_channels, 1, activation="sigmoid", use_bias=False, name="image_pooling")(gate)
    x = layers.Multiply(name="aspp_gated")([x, gate])
    x = layers.Dropout(config.dropout, name="aspp_dropout")(x)
    x = ResizeBilinear(name="aspp_resize")(_logits(x, config, "logits_high"), features.middle)
    return layers.Add(name="logits")([x, _logits(features.middle, config, "logits_low")])


HEADS: dict[str, Callable[[Features, ModelConfig, int], keras.KerasTensor]] = {
    "v1": v1,
    "v2": v2,
    "v3": v3,
    "v3plus": v3plus,
    "lraspp": lraspp,
}


def _large_fov(
    x: keras.KerasTensor, config: ModelConfig, rate: int, fc6: str, fc7: str, logits: str
) -> keras.KerasTensor:
    """Build an atrous 3x3 and a 1x1 convolution, each with dropout, and the logits; the strings are layer names."""
    for name, kernel_size, dilation_rate in ((fc6, 3, rate), (fc7, 1, 1)):
        x = layers.Conv2D(
            config.aspp_channels,
            kernel_size,
            dilation_rate=dilation_rate,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=name,
        )(x)
        x = layers.Dropout(config.dropout, name=f"{name}_dropout")(x)
    return _logits(x, config, logits)


def _logits(x: keras.KerasTensor, config: ModelConfig, name: str) -> keras.KerasTensor:
    initializer = keras.initializers.TruncatedNormal(stddev=0.01)
    return layers.Conv2D(config.classes, 1, kernel_initializer=initializer, name=name)(x)
