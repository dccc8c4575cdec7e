"""Atrous spatial pyramid pooling with image-level features and batch norm (DeepLabv3, arXiv:1706.05587, sec. 3.3)."""

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, Step, conv_norm, rates_at, separable_conv_norm
from deeplab.model.resize import ResizeBilinear


def aspp(features: keras.KerasTensor, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Looks at `features` `[b, h, w, c]` through several rates at once; gives `[b, h, w, aspp_channels]`.

    The branches are image pooling, a 1x1 convolution and one atrous 3x3 convolution for each of `config.aspp_rates`, in
    this order, as in the paper. With no rates it is the head of the official mobile models.
    """
    norm = Norm(config.batch_norm_momentum or 0.9997, 1e-5)
    channels = config.aspp_channels
    branches = []
    if config.image_pooling:
        pooled = layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling_mean")(features)
        pooled = conv_norm(pooled, channels, 1, norm, "image_pooling")
        branches.append(ResizeBilinear(name="image_pooling_resize")(pooled, features))
    branches.append(conv_norm(features, channels, 1, norm, "aspp0"))
    for number, rate in enumerate(rates_at(config.aspp_rates, output_stride), start=1):
        if config.aspp_separable:
            branches.append(separable_conv_norm(features, channels, norm, f"aspp{number}", rate=rate))
        else:
            branches.append(conv_norm(features, channels, 3, norm, f"aspp{number}", step=Step(1, rate)))

    x = layers.Concatenate(name="aspp_concat")(branches) if len(branches) > 1 else branches[0]
    x = conv_norm(x, channels, 1, norm, "concat_projection")
    return layers.Dropout(config.dropout, name="aspp_dropout")(x)
