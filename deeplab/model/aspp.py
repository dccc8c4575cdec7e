"""Atrous spatial pyramid pooling with image-level features and batch norm (DeepLabv3, arXiv:1706.05587, sec. 3.3)."""

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import StrideRate, conv_norm, head_norm, rates_at, separable_conv_norm
from deeplab.model.resize import ResizeBilinear


def aspp(features: keras.KerasTensor, config: ModelConfig, output_stride: int) -> keras.KerasTensor:
    """Build ASPP on `features` `[b, h, w, c]`; return `[b, h, w, aspp_channels]`.

    The branches are image pooling, a 1x1 convolution and one atrous 3x3 convolution for each of `config.aspp_rates`, in
    the order of the paper. Without rates this is the head of the official mobile models.
    """
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
            branches.append(separable_conv_norm(features, channels, norm, name, rate=rate))
        else:
            branches.append(conv_norm(features, channels, 3, norm, name, stride_rate=StrideRate(rate=rate)))

    x = layers.Concatenate(name="aspp_concat")(branches) if len(branches) > 1 else branches[0]
    x = conv_norm(x, channels, 1, norm, "concat_projection")
    return layers.Dropout(config.dropout, name="aspp_dropout")(x)
