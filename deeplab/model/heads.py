"""The heads, by their names in `ModelConfig.head`. In every head, the layer named "logits" returns the logits."""

from collections.abc import Callable

import keras
from keras import KerasTensor, layers

from deeplab.config import ModelConfig
from deeplab.model.activations import hard_sigmoid
from deeplab.model.atrous import StrideRate, conv_norm, head_norm, rates_at, separable_conv_norm
from deeplab.model.backbones.features import Features
from deeplab.model.resize import ResizeBilinear


def v1(features: Features, config: ModelConfig, output_stride: int) -> KerasTensor:
    """Build LargeFOV, one atrous 3x3 convolution in place of VGG-16's 7x7 (DeepLabv1, arXiv:1412.7062).

    It has no batch norm. The logits are `[b, h, w, classes]` at the output stride.
    """
    (rate,) = rates_at(config.aspp_rates, output_stride)
    return _large_fov(features.high, config, rate, "logits")


def v2(features: Features, config: ModelConfig, output_stride: int) -> KerasTensor:
    """Build the first ASPP, the sum of one LargeFOV per rate (DeepLabv2, arXiv:1606.00915, sec. 3.2).

    It has no batch norm and no image-level features. The logits are `[b, h, w, classes]` at the output stride.
    """
    rates = rates_at(config.aspp_rates, output_stride)
    if len(rates) == 1:
        return v1(features, config, output_stride)
    branches = [
        _large_fov(features.high, config, rate, f"logits_{number}", f"_{number}")
        for number, rate in enumerate(rates, start=1)
    ]
    return layers.Add(name="logits")(branches)


def v3(features: Features, config: ModelConfig, output_stride: int) -> KerasTensor:
    """Build ASPP with batch norm and image-level features (DeepLabv3, arXiv:1706.05587, sec. 3.3).

    The logits are `[b, h, w, classes]` at the output stride.
    """
    return _logits(_aspp(features.high, config, output_stride), config, "logits")


def v3plus(features: Features, config: ModelConfig, output_stride: int) -> KerasTensor:
    """Build ASPP and the decoder (DeepLabv3+, arXiv:1802.02611, sec. 3.1).

    The logits are `[b, h, w, classes]` at stride 4.
    """
    return _logits(_decoder(_aspp(features.high, config, output_stride), features.low, config), config, "logits")


def lraspp(features: Features, config: ModelConfig, output_stride: int) -> KerasTensor:
    """Build Lite R-ASPP (MobileNetV3, arXiv:1905.02244, sec. 6.4 and fig. 10).

    The logits are `[b, h, w, classes]` at stride 8. As in the code of the published checkpoints (tensorflow/models
    research/deeplab, model.py), the gate has a bias and the hard sigmoid of MobileNetV3, and there is no dropout. Two
    details differ from the paper:

    - The features are gated by their mean over the whole image, as in squeeze-and-excite. The paper pools 49x49 windows
      with large strides, which suits its images of 1024x2048 pixels.
    - The 1x1 convolution to the logits comes before the resize. The paper resizes first. A 1x1 convolution and a
      bilinear resize commute, so the function is the same, and fewer channels are resized.
    """
    norm = head_norm(config)
    x = conv_norm(features.high, config.aspp_channels, 1, norm, "aspp0")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling_mean")(features.high)
    gate = layers.Conv2D(config.aspp_channels, 1, activation=hard_sigmoid, name="image_pooling")(gate)
    x = layers.Multiply(name="aspp_gated")([x, gate])
    x = ResizeBilinear(name="aspp_resize")(_logits(x, config, "logits_high"), features.middle)
    return layers.Add(name="logits")([x, _logits(features.middle, config, "logits_low")])


HEADS: dict[str, Callable[[Features, ModelConfig, int], KerasTensor]] = {
    "v1": v1,
    "v2": v2,
    "v3": v3,
    "v3plus": v3plus,
    "lraspp": lraspp,
}


def _large_fov(x: KerasTensor, config: ModelConfig, rate: int, name: str, suffix: str = "") -> KerasTensor:
    """Build an atrous 3x3 convolution to the logits, which are called `name`.

    With `ModelConfig.hidden_layers`, two layers with dropout precede the logits: fc6, which is atrous in their place,
    and fc7, a 1x1 convolution. Their names end with `suffix`.
    """
    if not config.hidden_layers:
        return _logits(x, config, name, 3, rate)
    for hidden, size, dilation in ((f"fc6{suffix}", 3, rate), (f"fc7{suffix}", 1, 1)):
        arguments = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal", "name": hidden}
        x = layers.Conv2D(config.aspp_channels, size, dilation_rate=dilation, **arguments)(x)
        x = layers.Dropout(config.dropout, name=f"{hidden}_dropout")(x)
    return _logits(x, config, name)


def _aspp(features: KerasTensor, config: ModelConfig, output_stride: int) -> KerasTensor:
    """Build ASPP with its branches in the order of the paper; without rates, the head of the official mobile models."""
    norm, channels = head_norm(config), config.aspp_channels
    branches = []
    if config.image_pooling:
        pooled = layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling_mean")(features)
        pooled = conv_norm(pooled, channels, 1, norm, "image_pooling")
        branches.append(ResizeBilinear(name="image_pooling_resize")(pooled, features))
    branches.append(conv_norm(features, channels, 1, norm, "aspp0"))
    for number, rate in enumerate(rates_at(config.aspp_rates, output_stride), start=1):
        name = f"aspp{number}"
        if config.aspp_separable:
            branches.append(separable_conv_norm(features, channels, norm, name, rate))
        else:
            branches.append(conv_norm(features, channels, 3, norm, name, stride_rate=StrideRate(rate=rate)))
    x = layers.Concatenate(name="aspp_concat")(branches) if len(branches) > 1 else branches[0]
    x = conv_norm(x, channels, 1, norm, "concat_projection")
    return layers.Dropout(config.dropout, name="aspp_dropout")(x)


def _decoder(encoded: KerasTensor, low_level: KerasTensor, config: ModelConfig) -> KerasTensor:
    """Refine object boundaries with low-level features; the output has their height and width."""
    norm, channels = head_norm(config), config.decoder_channels
    low_level = conv_norm(low_level, config.low_level_channels, 1, norm, "decoder_low_level")
    resized = ResizeBilinear(name="decoder_resize")(encoded, low_level)
    x = layers.Concatenate(name="decoder_concat")([resized, low_level])
    for name in ("decoder_conv0", "decoder_conv1"):
        separable = config.decoder_separable
        x = separable_conv_norm(x, channels, norm, name) if separable else conv_norm(x, channels, 3, norm, name)
    return x


def _logits(x: KerasTensor, config: ModelConfig, name: str, kernel_size: int = 1, rate: int = 1) -> KerasTensor:
    kernel = {"dilation_rate": rate, "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.01)}
    return layers.Conv2D(config.classes, kernel_size, padding="same", name=name, **kernel)(x)
