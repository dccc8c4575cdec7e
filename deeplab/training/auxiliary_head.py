"""A second head that helps a deep network learn and is gone afterwards."""

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.atrous import conv_norm, head_norm
from deeplab.model.resize import CropTo, ResizeBilinear

CHANNELS = 256


def with_auxiliary_head(network: keras.Model, config: ModelConfig) -> keras.Model:
    """`network` with a second output: logits `[b, h, w, classes]` from the last stage but one of its ResNet.

    3x3 convolution, batch norm, ReLU, dropout, logits; as PSPNet has it (arXiv:1612.01105, sec. 3.3). The layers of
    `network` are shared, not copied; what it saves knows nothing of the head.

    Raises:
        UserError: the backbone is no ResNet.
    """
    features = network.features.auxiliary
    if features is None:
        raise UserError("training.auxiliary_weight", f"there is no such head for {config.backbone}", "leave it at 0")
    norm = head_norm(config)
    x = conv_norm(features, CHANNELS, 3, norm, "auxiliary_conv")
    x = layers.Dropout(config.dropout, name="auxiliary_dropout")(x)
    start = keras.initializers.TruncatedNormal(stddev=0.01)
    x = layers.Conv2D(config.classes, 1, kernel_initializer=start, name="auxiliary_logits")(x)
    x = ResizeBilinear(name="auxiliary_upsample", dtype="float32")(x, network.get_layer("pad").output)
    x = CropTo(name="auxiliary_crop", dtype="float32")(x, network.input)
    return keras.Model(network.input, [network.output, x], name=f"{network.name}_with_auxiliary")
