"""The heads by the name they have in `ModelConfig.head`: from features to logits on the grid of the head.

What a head ends with is called "logits": one convolution, or the sum of several.
"""

from collections.abc import Callable

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.aspp import aspp
from deeplab.model.atrous import Norm, conv_norm, rates_at
from deeplab.model.backbones.features import Features
from deeplab.model.decoder import decoder
from deeplab.model.resize import ResizeBilinear


def v1(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """LargeFOV: one atrous 3x3 convolution that sees far, where VGG-16 had its 7x7 (DeepLabv1, arXiv:1412.7062).

    No batch norm; `[b, h, w, classes]` at the output stride.
    """
    (rate,) = rates_at(config.aspp_rates, output_stride)
    return _far_sighted(features.high, config, rate, hidden="fc6", hidden_too="fc7", name="logits")


def v2(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """ASPP as it first was: the sum of one LargeFOV for each rate (DeepLabv2, arXiv:1606.00915, sec. 3.2).

    No batch norm, no image-level features; `[b, h, w, classes]` at the output stride.
    """
    branches = []
    for number, rate in enumerate(rates_at(config.aspp_rates, output_stride), start=1):
        names = {"hidden": f"fc6_{number}", "hidden_too": f"fc7_{number}", "name": f"fc8_{number}"}
        branches.append(_far_sighted(features.high, config, rate, **names))
    return layers.Add(name="logits")(branches) if len(branches) > 1 else layers.Identity(name="logits")(branches[0])


def v3(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """ASPP with batch norm and image-level features (DeepLabv3); `[b, h, w, classes]` at the output stride."""
    return _logits(aspp(features.high, config, output_stride), config, "logits")


def v3plus(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """ASPP and the decoder (DeepLabv3+); `[b, h, w, classes]` at stride 4."""
    return _logits(decoder(aspp(features.high, config, output_stride), features.low, config), config, "logits")


def lraspp(features: Features, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Lite R-ASPP (MobileNetV3, arXiv:1905.02244, sec. 6.4 and fig. 10); `[b, h, w, classes]` at stride 8.

    The mean of the whole picture gates the features, as squeeze-and-excite does. The paper's mean is of 49x49 windows,
    wide apart, made for 1024x2048 pixels. The paper resizes before its last 1x1 convolution; one neither mixes channels
    nor the other pixels, so that both orders are the same function, and ours resizes `classes` channels.
    """
    norm = Norm(config.batch_norm_momentum or 0.9997, 1e-5)
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


def _far_sighted(
    x: keras.KerasTensor, config: ModelConfig, rate: int, hidden: str, hidden_too: str, name: str
) -> keras.KerasTensor:
    """Atrous 3x3, 1x1 and logits, with dropout behind the first two."""
    for layer, kernel, dilation in ((hidden, 3, rate), (hidden_too, 1, 1)):
        x = layers.Conv2D(
            config.aspp_channels,
            kernel,
            dilation_rate=dilation,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=layer,
        )(x)
        x = layers.Dropout(config.dropout, name=f"{layer}_dropout")(x)
    return _logits(x, config, name)


def _logits(x: keras.KerasTensor, config: ModelConfig, name: str) -> keras.KerasTensor:
    start = keras.initializers.TruncatedNormal(stddev=0.01)
    return layers.Conv2D(config.classes, 1, kernel_initializer=start, name=name)(x)
