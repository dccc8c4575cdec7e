"""The decoder that sharpens object borders with low-level features (DeepLabv3+, arXiv:1802.02611, sec. 3.1)."""

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, conv_norm, separable_conv_norm
from deeplab.model.resize import ResizeBilinear


def decoder(encoded: keras.KerasTensor, low_level: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Joins `encoded` `[b, h, w, c]` and `low_level` `[b, H, W, c']`; gives `[b, H, W, decoder_channels]`."""
    norm = Norm(config.batch_norm_momentum or 0.9997, 1e-5)
    low_level = conv_norm(low_level, config.low_level_channels, 1, norm, "decoder_low_level")
    x = layers.Concatenate(name="decoder_concat")(
        [ResizeBilinear(name="decoder_resize")(encoded, low_level), low_level]
    )
    for number in range(2):
        name = f"decoder_conv{number}"
        if config.decoder_separable:
            x = separable_conv_norm(x, config.decoder_channels, norm, name)
        else:
            x = conv_norm(x, config.decoder_channels, 3, norm, name)
    return x
