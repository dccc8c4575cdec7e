"""The auxiliary head of a deep network, present during training only."""

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.atrous import conv_norm, head_norm
from deeplab.model.build import DeepLab
from deeplab.model.resize import CropTo, ResizeBilinear

CHANNELS = 256


def add_auxiliary_head(network: DeepLab, config: ModelConfig) -> keras.Model:
    """Return `network` with a second output: logits `[b, h, w, classes]` from the second-to-last stage of its ResNet.

    The head is that of PSPNet (arXiv:1612.01105, sec. 3.3): 3x3 convolution, batch norm, ReLU, dropout, logits. All
    layers of `network` are shared, and its saved weights do not contain the head.

    Raises:
        UserError: the backbone is not a ResNet.
    """
    features = network.features.auxiliary
    if features is None:
        problem = f"no auxiliary head exists for {config.backbone}, only for ResNets"
        raise UserError("training.auxiliary_weight", problem, "leave it at 0")
    x = conv_norm(features, CHANNELS, 3, head_norm(config), "auxiliary_conv")
    x = layers.Dropout(config.dropout, name="auxiliary_dropout")(x)
    initializer = keras.initializers.TruncatedNormal(stddev=0.01)
    x = layers.Conv2D(config.classes, 1, kernel_initializer=initializer, name="auxiliary_logits")(x)
    x = ResizeBilinear(name="auxiliary_upsample", dtype="float32")(x, network.get_layer("pad").output)
    x = CropTo(name="auxiliary_crop", dtype="float32")(x, network.input)
    return keras.Model(network.input, [network.output, x], name=f"{network.name}_with_auxiliary")
